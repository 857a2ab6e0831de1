//! Keeps what is linked small: line tables, by which backtraces name file and line, are compressed, and functions that nothing outside of
//! their part of a crate calls go without a name.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Linkers of other systems keep debug information elsewhere, or not at all.
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        println!("cargo:rustc-link-arg=-Wl,--compress-debug-sections=zlib,--discard-all");
    }
}
