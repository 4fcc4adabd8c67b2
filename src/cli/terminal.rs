//! The one way to standard output and standard error. Nothing that is shown can drive the terminal, and nothing that can't be
//! shown ends the program.
//!
//! Lines at the bottom of a terminal (the region) are drawn anew in place; whatever else is said appears above them.

use std::{
    io::{self, IsTerminal, Write},
    sync::{Mutex, MutexGuard, PoisonError},
};

use unicode_width::UnicodeWidthStr;

use crate::base::visible::{visible, visible_line};

/// Where the terminal doesn't say how large it is.
const USUAL_SIZE: (usize, usize) = (80, 24);

static SCREEN: Mutex<Screen> = Mutex::new(Screen { region: Vec::new(), drawn: Vec::new(), lost: None });

/// What is on the terminal beside lines that stay.
struct Screen {
    /// What stands at the bottom.
    region: Vec<String>,
    /// Columns of the lines that were drawn there last.
    drawn: Vec<usize>,
    /// The first error of standard output.
    lost: Option<io::Error>,
}

impl Screen {
    fn lock() -> MutexGuard<'static, Self> {
        SCREEN.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What takes the drawn region away. A terminal that has become narrower since has broken its lines.
    fn erased(&mut self, columns: usize) -> String {
        let rows: usize = self.drawn.drain(..).map(|width| width.div_ceil(columns).max(1)).sum();
        if rows == 0 { String::new() } else { format!("\r\x1b[{rows}A\x1b[J") }
    }

    /// What draws the region, as much of it as there is room for.
    fn drawn(&mut self, (columns, rows): (usize, usize)) -> String {
        let mut out = String::new();
        for line in self.region.iter().take(rows.saturating_sub(1).max(1)) {
            let line = cut(line, columns.saturating_sub(1));
            self.drawn.push(line.width());
            out.push_str(line);
            out.push('\n');
        }
        out
    }

    /// Writes `text` above the region.
    fn above(&mut self, text: &str, to: impl FnOnce(&[u8]) -> io::Result<()>) -> io::Result<()> {
        if self.region.is_empty() && self.drawn.is_empty() {
            return to(text.as_bytes());
        }
        let size = size();
        let erased = self.erased(size.0);
        complain(erased.as_bytes());
        let written = to(text.as_bytes());
        let drawn = self.drawn(size);
        complain(drawn.as_bytes());
        written
    }
}

/// The beginning of `line` that fits into so many columns.
fn cut(line: &str, columns: usize) -> &str {
    let ends = line.char_indices().map(|(i, c)| i + c.len_utf8());
    // The width of a whole is not always that of its characters, so it is the whole that is measured.
    let fits = |end: &usize| line[..*end].width() <= columns;
    if line.width() <= columns { line } else { &line[..ends.take_while(fits).last().unwrap_or(0)] }
}

/// Columns and rows of the terminal.
fn size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => USUAL_SIZE,
    }
}

/// Writes to standard error. Where that is gone or full there is nobody to tell.
fn complain(bytes: &[u8]) {
    let _ = io::stderr().lock().write_all(bytes);
}

/// Prints to standard output, control characters escaped. What couldn't be written, [`lost_output`] says at the end.
pub fn print(text: &str) {
    print_verbatim(&visible(text));
}

/// As [`print()`], for what other programs read: every byte as it is.
pub fn print_verbatim(text: &str) {
    let mut screen = Screen::lock();
    let write = |bytes: &[u8]| {
        let mut out = io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.flush())
    };
    if let Err(e) = screen.above(text, write) {
        screen.lost.get_or_insert(e);
    }
}

/// Says one or more lines on standard error, control characters escaped.
pub fn say(text: &str) {
    say_painted(&format!("{}\n", visible(text)));
}

/// As [`say`], for text whose own control characters are meant, such as colours, and that ends its lines itself.
pub fn say_painted(text: &str) {
    // What can't be written is lost: the work matters more.
    let _ = Screen::lock().above(text, |bytes| {
        complain(bytes);
        Ok(())
    });
}

/// A message of several lines, all but the first indented, so that none of them can pass for a line of ours.
pub fn hanging(message: &str) -> String {
    let mut lines = message.lines();
    let mut out = lines.next().unwrap_or_default().to_owned();
    for line in lines {
        out.push_str(if line.starts_with(' ') { "\n" } else { "\n  " });
        out.push_str(line);
    }
    out
}

/// Draws these lines at the bottom of the terminal, in the place of those that were there; each is cut at the right edge.
pub fn region(lines: Vec<String>) {
    let mut screen = Screen::lock();
    screen.region = lines;
    screen.region.iter_mut().for_each(|line| *line = visible_line(line).into_owned());
    let size = size();
    let text = format!("{}{}", screen.erased(size.0), screen.drawn(size));
    if !text.is_empty() {
        complain(text.as_bytes());
    }
}

/// Whether standard error is a terminal that can draw in place.
pub fn is_live() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb")
}

/// Whether a stream is to have colours: <https://no-color.org>, `CLICOLOR` and `TERM`.
pub fn colours(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && colours_wanted(|name| std::env::var(name).unwrap_or_default())
}

fn colours_wanted(variable: impl Fn(&str) -> String) -> bool {
    let can = !["", "dumb"].contains(&&*variable("TERM"));
    can && variable("NO_COLOR").is_empty() && variable("CLICOLOR") != "0"
}

/// Why standard output is incomplete, if it is: nothing to show where its reader has gone away, and an error otherwise.
pub fn lost_output() -> Option<Option<crate::base::error::Error>> {
    let lost = Screen::lock().lost.take()?;
    let help = "what was to be done is done; only its words are lost";
    let error = crate::base::error::Error::environment(format!("can't write to standard output: {lost}")).help(help);
    Some((lost.kind() != io::ErrorKind::BrokenPipe).then_some(error))
}

/// Lets log lines and the last words of a panic go the same way.
pub fn adopt(filter: tracing_subscriber::EnvFilter) {
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Log).with_ansi(false).init();
    std::panic::set_hook(Box::new(|panic| {
        let backtrace = std::backtrace::Backtrace::capture();
        let text = format!("a defect in emopipe: {}\n{backtrace}\n", hanging(&panic.to_string()));
        match SCREEN.try_lock() {
            Ok(mut screen) => {
                let _ = screen.above(&visible(&text), |bytes| {
                    complain(bytes);
                    Ok(())
                });
            }
            Err(_) => complain(visible(&text).as_bytes()),
        }
    }));
}

/// Where log lines go.
struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        say(String::from_utf8_lossy(bytes).trim_end_matches('\n'));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(lines: &[&str]) -> Screen {
        Screen { region: lines.iter().map(|l| (*l).to_owned()).collect(), drawn: Vec::new(), lost: None }
    }

    #[test]
    fn a_region_is_taken_away_as_the_terminal_shows_it_now() {
        let mut bars = screen(&["0123456789", "abc", ""]);
        assert_eq!(bars.erased(80), "", "nothing was drawn");
        assert_eq!(bars.drawn((80, 24)), "0123456789\nabc\n\n");
        // Narrower: the first line now takes three rows.
        assert_eq!(bars.erased(4), "\r\x1b[5A\x1b[J");
        assert_eq!(bars.drawn((5, 24)), "0123\nabc\n\n");
        assert_eq!(bars.erased(80), "\r\x1b[3A\x1b[J", "what was cut doesn't come back by itself");
        assert_eq!(bars.drawn((80, 3)), "0123456789\nabc\n", "never higher than the terminal");
    }

    #[test]
    fn colours_are_left_out_where_they_are_not_wanted() {
        let wanted = |set: &[(&str, &str)]| {
            colours_wanted(|name| set.iter().find(|(n, _)| *n == name).map_or("", |(_, value)| value).to_owned())
        };
        assert!(wanted(&[("TERM", "xterm-256color")]));
        assert!(wanted(&[("TERM", "xterm"), ("CLICOLOR", "1"), ("NO_COLOR", "")]));
        for out in [("NO_COLOR", "1"), ("CLICOLOR", "0"), ("TERM", "dumb"), ("TERM", "")] {
            assert!(!wanted(&[out, ("TERM", "xterm")]), "{out:?}");
        }
    }

    #[test]
    fn wide_characters_count_twice() {
        assert_eq!(cut("情感识别", 5), "情感");
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abc", 0), "");
    }

    #[test]
    fn no_message_can_pass_for_another_line() {
        assert_eq!(hanging("one\ntwo\n  three"), "one\n  two\n  three");
        assert_eq!(hanging(""), "");
    }
}
