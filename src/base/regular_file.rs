//! Files that are files: what waits for a writer, never ends or acts when it is read is none.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::FileTypeExt,
    path::Path,
};

/// Bytes of a text that people write.
const MOST_TEXT: u64 = 16 << 20;

/// Opens a file that is one: what waits for a writer, never ends or acts when it is read is none.
///
/// # Errors
/// `InvalidInput` for folders, pipes, sockets and devices; whatever else keeps a file from being opened.
pub(super) fn regular(path: &Path) -> io::Result<File> {
    let kind = fs::metadata(path)?.file_type();
    let what = match () {
        () if kind.is_file() => return File::open(path),
        () if kind.is_dir() => "a folder",
        () if kind.is_fifo() => "a pipe",
        () if kind.is_socket() => "a socket",
        () => "a device",
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it is {what} and no regular file")))
}

/// The text of a regular file.
///
/// # Errors
/// As [`regular`]; `FileTooLarge` and `InvalidData` for what no text can be.
pub(super) fn text_of(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    regular(path)?.take(MOST_TEXT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_TEXT {
        let message = format!("it has more than {} MiB", MOST_TEXT >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    String::from_utf8(bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.utf8_error()))
}
