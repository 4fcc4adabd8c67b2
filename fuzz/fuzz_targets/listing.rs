#![no_main]

#[path = "../properties.rs"]
#[allow(dead_code, reason = "each target uses its own property")]
mod properties;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    properties::listing(data);
});
