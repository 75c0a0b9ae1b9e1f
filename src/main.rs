//! The program `rockets`; what it can do is in [`rockets::cli`].

fn main() -> std::process::ExitCode {
    rockets::cli::main()
}
