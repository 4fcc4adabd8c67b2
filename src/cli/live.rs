//! Lines at the bottom of the terminal that are drawn anew several times a second, whether or not something happens.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use super::terminal;

/// Often enough for a clock and for a window that changes its size.
const INTERVAL: Duration = Duration::from_millis(150);

/// State that is shown while this lives, where standard error is a terminal.
pub struct Live<S> {
    shared: Arc<Shared<S>>,
}

struct Shared<S> {
    state: Mutex<S>,
    /// Whether the lines are still to be shown.
    open: Mutex<bool>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: Send + 'static> Live<S> {
    /// Shows what `lines` makes of the state.
    pub fn new(state: S, lines: fn(&S) -> Vec<String>) -> Self {
        let shared = Arc::new(Shared { state: Mutex::new(state), open: Mutex::new(true) });
        if terminal::is_live() {
            let shared = Arc::clone(&shared);
            // Without a thread there is nothing to see, and all else is as it should be.
            let _ = thread::Builder::new().name("terminal".to_owned()).spawn(move || {
                loop {
                    {
                        let open = locked(&shared.open);
                        if !*open {
                            return;
                        }
                        terminal::region(lines(&locked(&shared.state)));
                    }
                    thread::sleep(INTERVAL);
                }
            });
        }
        Self { shared }
    }

    /// What is shown, to be changed; no line is drawn meanwhile.
    pub fn state(&self) -> MutexGuard<'_, S> {
        locked(&self.shared.state)
    }
}

impl<S> Live<S> {
    /// Takes the lines away.
    pub fn close(&self) {
        let mut open = locked(&self.shared.open);
        if std::mem::take(&mut *open) {
            terminal::region(Vec::new());
        }
    }
}

impl<S> Drop for Live<S> {
    fn drop(&mut self) {
        self.close();
    }
}

/// `[====>   ]`: `width` characters between the brackets.
pub fn bar(done: u64, total: u64, width: usize) -> String {
    let share = if total == 0 { 0.0 } else { (done as f64 / total as f64).min(1.0) };
    let full = (share * width as f64) as usize;
    let head = if full < width && done > 0 { ">" } else { "" };
    format!("[{:width$}]", format!("{}{head}", "=".repeat(full)))
}

#[cfg(test)]
mod tests {
    use super::bar;

    #[test]
    fn bars() {
        assert_eq!(bar(0, 0, 4), "[    ]");
        assert_eq!(bar(0, 8, 4), "[    ]");
        assert_eq!(bar(1, 8, 4), "[>   ]");
        assert_eq!(bar(4, 8, 4), "[==> ]");
        assert_eq!(bar(8, 8, 4), "[====]");
        assert_eq!(bar(9, 8, 4), "[====]", "more than was promised");
    }
}
