//! The page of the programme monitor: three files in the binary, which load nothing from elsewhere.

/// The page itself; `{lang}` is what the viewer reads.
const HTML: &str = include_str!("page/monitor.html");
/// What it does.
pub(super) const SCRIPT: &str = include_str!("page/monitor.js");
/// How it looks.
pub(super) const STYLE: &str = include_str!("page/monitor.css");

/// The page for whoever sends this `Accept-Language`: German when they like it better than English.
pub(super) fn html(accepted: &str) -> String {
    let language = if liking(accepted, "de") > liking(accepted, "en") { "de" } else { "en" };
    HTML.replace("{lang}", language)
}

/// How much a language is liked, in thousandths (RFC 9110 §12.5.4).
fn liking(accepted: &str, language: &str) -> u32 {
    let of = |range: &str| {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next()?.split('-').next()?;
        let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(Some(1.0), |weight| weight.parse::<f32>().ok())?;
        name.eq_ignore_ascii_case(language).then_some((weight.clamp(0.0, 1.0) * 1000.0) as u32)
    };
    accepted.split(',').filter_map(of).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_speaks_what_is_read() {
        for (accepted, language) in [
            ("", "en"),
            ("fr", "en"),
            ("de", "de"),
            ("de-AT,en;q=0.8", "de"),
            ("en-US,en;q=0.9,de;q=0.8", "en"),
            ("fr;q=0.9, de;q=0.5, en;q=0.3", "de"),
            ("de;q=nothing", "en"),
        ] {
            assert!(html(accepted).contains(&format!("<html lang=\"{language}\">")), "{accepted}");
        }
    }

    #[test]
    fn nothing_is_loaded_from_elsewhere() {
        for text in [HTML, SCRIPT, STYLE] {
            assert!(!text.contains("http:") && !text.contains("https:") && !text.contains("url("));
        }
        // The policy of the page forbids both.
        assert!(!HTML.contains("style=") && !HTML.contains("onclick"));
    }
}
