fn main() -> std::process::ExitCode {
    emopipe::cli::main()
}
