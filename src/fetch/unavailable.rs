//! What to say where a file can't be had.

use super::{fetch_settings::Settings, location::Location, mirror, source::Source};
use crate::base::error::{Category, Error};

/// The error for a file that isn't where it was expected, and which the network won't be asked for.
pub(super) fn missing(location: &Location) -> Error {
    match location {
        Location::File(path) if path.is_relative() => Error::internal(format!("{location} was not made absolute")),
        Location::File(path) => Error::input(format!("there is no file {}", path.display())),
        _ => Error::input(format!("{location} is not in the mirror folder, and EMOPIPE_OFFLINE forbids the network")),
    }
}

/// The error for a file that none of its places gave.
pub(super) fn unavailable(
    settings: &Settings,
    source: &Source,
    name: &str,
    locations: &[Location],
    failures: Vec<Error>,
) -> Error {
    let retry_helps = failures.iter().any(|e| e.category == Category::Environment);
    let message = match failures.as_slice() {
        [one] => format!("can't get {name}: {one}"),
        many => {
            let lines: Vec<_> = many.iter().map(|e| format!("\n  {e}")).collect();
            format!("can't get {name} from any of its {} places:{}", many.len(), lines.concat())
        }
    };
    let place = locations.iter().find_map(|l| mirror::place_shown(settings.mirror.as_deref(), l));
    let by_hand = match (&place, &settings.mirror) {
        (None, _) => "check the path in `url`".to_owned(),
        (Some(place), Some(_)) => format!("put the file at {place}"),
        (Some(place), None) => format!("put the file at {place} and pass `--mirror DIR` (or set EMOPIPE_MIRROR)"),
    };
    let help = match (&source.manual, failures.into_iter().find_map(|e| e.help)) {
        (Some(manual), _) => match source.local_path() {
            Some(path) => format!("{}\nput it at {}", manual.trim(), path.display()),
            None => manual.clone(),
        },
        (None, Some(help)) if place.is_some() => format!("{help}; or {by_hand}"),
        (None, Some(help)) => help,
        (None, None) if settings.offline => format!("{by_hand}, or allow the network"),
        (None, None) if retry_helps => format!(
            "no network? Run again later: what has arrived is kept (behind a proxy, set HTTPS_PROXY); or {by_hand}"
        ),
        (None, None) => by_hand,
    };
    let error = if retry_helps { Error::environment(message) } else { Error::input(message) };
    error.help(help)
}
