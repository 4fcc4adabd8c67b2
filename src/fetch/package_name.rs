//! Names and versions of Python packages, and which of a version's archives may hold a file.

/// A package's name in the form that indexes use (PEP 503).
pub(super) fn normalised(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '-' | '_' | '.' if out.ends_with('-') => {}
            '-' | '_' | '.' => out.push('-'),
            c => out.push(c.to_ascii_lowercase()),
        }
    }
    out
}

/// The archives that may hold `member`, the likeliest first: a wheel that fits every machine, then the source archive.
/// A member that begins with the source archive's top folder is looked for there first.
pub(super) fn candidates<'a, T>(
    files: &'a [T],
    file_name: impl Fn(&T) -> &str,
    (name, version): (&str, &str),
    member: &str,
) -> Vec<&'a T> {
    let mut ranked: Vec<_> = files
        .iter()
        .filter_map(|file| {
            let archive = Archive::parse(file_name(file))?;
            (archive.name == normalised(name) && same_version(&archive.version, version)).then_some((archive, file))
        })
        .collect();
    let top = member.split_once('/').and_then(|(top, _)| top.rsplit_once('-'));
    let names_source = top.is_some_and(|(n, v)| normalised(n) == normalised(name) && same_version(v, version));
    ranked.sort_by_key(|(archive, file)| {
        let source_last = (archive.rank == Rank::Source) != names_source;
        (source_last, archive.rank, file_name(file).to_owned())
    });
    // Wheels for single platforms differ in compiled code, not in data: one of them is enough.
    let mut wheel_seen = false;
    ranked.retain(|(archive, _)| archive.rank == Rank::Source || !std::mem::replace(&mut wheel_seen, true));
    ranked.into_iter().map(|(_, file)| file).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// `py3-none-any`
    Universal,
    /// `py2-none-any`
    AnyPlatform,
    Platform,
    Source,
}

struct Archive {
    name: String,
    version: String,
    rank: Rank,
}

impl Archive {
    /// `NAME-VERSION[-BUILD]-PYTHON-ABI-PLATFORM.whl` or `NAME-VERSION.tar.gz`.
    fn parse(file: &str) -> Option<Self> {
        if let Some(stem) = file.strip_suffix(".whl") {
            let parts: Vec<_> = stem.split('-').collect();
            let [name, version, .., python, abi, platform] = parts.as_slice() else { return None };
            let rank = match (*abi, *platform) {
                ("none", "any") if python.split('.').any(|tag| tag == "py3") => Rank::Universal,
                ("none", "any") => Rank::AnyPlatform,
                _ => Rank::Platform,
            };
            return Some(Self { name: normalised(name), version: (*version).to_owned(), rank });
        }
        let stem = [".tar.gz", ".tgz", ".zip", ".tar"].iter().find_map(|end| file.strip_suffix(end))?;
        let (name, version) = stem.rsplit_once('-')?;
        Some(Self { name: normalised(name), version: version.to_owned(), rank: Rank::Source })
    }
}

/// Versions that differ only in case, in `_` for `-`, or in zeros at the end are the same.
fn same_version(a: &str, b: &str) -> bool {
    let normal = |v: &str| {
        let v = v.to_ascii_lowercase().replace('_', "-");
        let mut v = v.as_str();
        if v.chars().all(|c| c.is_ascii_digit() || c == '.') {
            while let Some(shorter) = v.strip_suffix(".0") {
                v = shorter;
            }
        }
        v.to_owned()
    };
    normal(a) == normal(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalised() {
        assert_eq!(normalised("Vader_Sentiment.-x"), "vader-sentiment-x");
    }

    #[test]
    fn the_likeliest_archive_comes_first() {
        let files = [
            "my_pkg-1.0.tar.gz",
            "my_pkg-1.0-cp312-cp312-linux_x86_64.whl",
            "my_pkg-1.0-py2-none-any.whl",
            "my_pkg-1.0.0-py2.py3-none-any.whl",
            "my_pkg-1.0.1-py3-none-any.whl",
            "my_pkg_extra-1.0.tar.gz",
            "my_pkg-1.0.exe",
        ];
        let order = |member: &str| candidates(&files, |f| f, ("My.Pkg", "1.0"), member);
        assert_eq!(order("a/b"), [&files[3], &files[0]]);
        assert_eq!(order("my_pkg-1.0/a/b"), [&files[0], &files[3]]);
        assert_eq!(candidates(&files[..2], |f| f, ("my-pkg", "1.0"), "a"), [&files[1], &files[0]]);
    }
}
