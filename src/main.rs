//! The program `rockets`; what it can do is in `src/cli.rs`.

fn main() -> std::process::ExitCode {
    rockets::main()
}
