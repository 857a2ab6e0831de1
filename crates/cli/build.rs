//! Keeps what is linked small without a loss to backtraces: line tables, which name file and line, are compressed, and only names of functions
//! that other parts of the program call are kept.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Linkers of other systems keep debug information elsewhere, or not at all.
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        println!("cargo:rustc-link-arg=-Wl,--compress-debug-sections=zlib,--discard-all");
    }
}
