//! The program `rockets`; what it can do is in `src/cli.rs`.

/// Most of what a message is made of on its way is allocated and freed again: this allocator takes the least time for that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    rockets::main()
}
