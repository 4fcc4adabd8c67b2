//! The program: everything is in the library.

fn main() -> std::process::ExitCode {
    // The tensor library's own threads spin between operations, and know nothing of the cores that an action may use. What is
    // worth several threads is shared out by `ops`, over the action's.
    // SAFETY: no other thread runs yet.
    unsafe { std::env::set_var("CANDLE_NUM_THREADS", "1") }
    emopipe::cli::main()
}
