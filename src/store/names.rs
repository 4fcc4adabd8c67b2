//! What a listing of files may say. Listings come from indexes and remote stores that others can write to, and their names
//! become paths where results are exported.

use super::file_entry::FileEntry;

/// More bytes than any file of an artifact has.
const MOST_BYTES: u64 = 1 << 50;
/// The longest name of one file or folder that filesystems take, in bytes.
const LONGEST: usize = 255;

/// Why a file of an artifact can't be called so; none where it can.
pub fn why_impossible(name: &str) -> Option<&'static str> {
    if name.contains(char::is_control) {
        return Some("it has a control character");
    }
    if name.contains('\\') {
        return Some("it has a backslash, which separates folders on some systems");
    }
    let parts = || name.split('/');
    if parts().any(|part| matches!(part, "" | "." | "..")) {
        return Some("it isn't a plain path below a folder");
    }
    parts().any(|part| part.len() > LONGEST).then_some("it is too long")
}

/// Why a listing that is sorted by name can't be; none where it can.
pub fn why_impossible_listing(files: &[FileEntry]) -> Option<String> {
    let called = |name: &str| files.binary_search_by(|f| f.name.as_str().cmp(name)).is_ok();
    for (i, file) in files.iter().enumerate() {
        let name = &file.name;
        if let Some(why) = why_impossible(name) {
            return Some(format!("names an impossible file, {name:?}: {why}"));
        }
        if file.size > MOST_BYTES {
            return Some(format!("says that {name:?} has {} bytes", file.size));
        }
        if i > 0 && files[i - 1].name == *name {
            return Some(format!("names the file {name:?} twice"));
        }
        if let Some((at, _)) = name.match_indices('/').find(|(at, _)| called(&name[..*at])) {
            return Some(format!("names {:?} as a file and as a folder", &name[..at]));
        }
    }
    None
}
