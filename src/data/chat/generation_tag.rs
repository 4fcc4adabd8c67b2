//! `{% generation %}`: the reference marks with it what an assistant wrote. It writes nothing itself.

/// The same template with blocks that this program's engine knows: `{% generation %}` begins a scope and no more.
pub fn plain(template: &str) -> String {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        let (tag, behind) = tag.split_at(end(tag));
        out.push_str(&renamed(tag));
        rest = behind;
    }
    out.push_str(rest);
    out
}

/// Where the tag ends that `text` begins with; a brace that begins none ends behind itself.
fn end(text: &str) -> usize {
    if let Some(body) = text.strip_prefix("{#") {
        return body.find("#}").map_or(text.len(), |at| at + 4);
    }
    let close = match text.as_bytes().get(1) {
        Some(b'{') => "}}",
        Some(b'%') => "%}",
        _ => return 1,
    };
    if close == "%}" && name(text) == Some("raw") {
        return raw_end(text);
    }
    let mut quote = None;
    let mut chars = text.char_indices().skip(2);
    while let Some((at, c)) = chars.next() {
        match (quote, c) {
            (Some(_), '\\') => drop(chars.next()),
            (Some(open), c) if open == c => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, _) if text[at..].starts_with(close) => return at + 2,
            _ => (),
        }
    }
    text.len()
}

/// A raw block is one tag: what stands in it is text.
fn raw_end(text: &str) -> usize {
    let mut at = 2;
    while let Some(found) = text[at..].find("{%") {
        at += found;
        if name(&text[at..]) == Some("endraw") {
            return text[at..].find("%}").map_or(text.len(), |end| at + end + 2);
        }
        at += 2;
    }
    text.len()
}

/// The name of the block that begins here.
fn name(text: &str) -> Option<&str> {
    let inside = text.strip_prefix("{%")?.trim_start_matches(['-', '+']).trim_start();
    let len = inside.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inside.len());
    Some(&inside[..len])
}

fn renamed(tag: &str) -> String {
    match name(tag) {
        Some(from @ "generation") => tag.replacen(from, "with", 1),
        Some(from @ "endgeneration") => tag.replacen(from, "endwith", 1),
        _ => tag.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_blocks_of_that_name_change() {
        assert_eq!(plain("a{%- generation -%}{{ x }}{%- endgeneration %}b"), "a{%- with -%}{{ x }}{%- endwith %}b");
        for same in [
            "{{ '{% generation %}' }}",
            "{# {% generation %} #}",
            "{% raw %}{% generation %}{% endraw %}",
            "{% if a == \"%} {% generation %}\" %}x{% endif %}",
            "{ {% set generation = 1 %} {",
            "{% generations %}",
            "{{ 'it\\'s {% generation %}' }}",
            "{%",
            "{{ 'open",
            "{#",
        ] {
            assert_eq!(plain(same), same);
        }
    }
}
