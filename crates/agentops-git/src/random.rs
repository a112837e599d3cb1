//! Random ids.

use std::fs;
use std::io::Read;
use std::path::Path;

use crate::error::{Error, Result};
use crate::names;

/// 16 hexadecimal digits.
pub(crate) fn hex() -> Result<String> {
    let mut random = [0u8; 8];
    let source = Path::new("/dev/urandom");
    fs::File::open(source).and_then(|mut file| file.read_exact(&mut random)).map_err(Error::io("read", source))?;
    Ok(names::hex(&random))
}
