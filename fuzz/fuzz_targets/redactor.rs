#![no_main]

#[path = "../checks/redactor.rs"]
mod redactor;

libfuzzer_sys::fuzz_target!(|data: &[u8]| redactor::check(data));
