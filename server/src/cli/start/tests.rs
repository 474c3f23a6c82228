use super::*;

fn since(text: &str) -> Option<u64> {
    match text.parse() {
        Ok(Place::Since(time)) => Some(time.as_millis()),
        Ok(Place::Known(_) | Place::Ago(_)) | Err(_) => None,
    }
}

#[test]
fn a_place_is_a_word_an_offset_an_age_or_a_time() {
    for (text, expected) in [
        ("earliest", Place::Known(Start::Earliest)),
        ("latest", Place::Known(Start::Latest)),
        ("0", Place::Known(Start::At(Offset(0)))),
        ("1970", Place::Known(Start::At(Offset(1970)))),
        ("30m", Place::Ago(Duration::from_mins(30))),
        ("2d", Place::Ago(Duration::from_hours(48))),
    ] {
        assert_eq!(text.parse(), Ok(expected), "{text}");
    }
    for text in [
        "",
        "first",
        "-1",
        "2026-11-22",
        "08:30:00",
        "2026-11-22T08:30:00",
    ] {
        let place = text.parse::<Place>();
        assert!(place.is_err(), "{text}: {place:?}");
    }
}

#[test]
fn times_are_those_of_the_calendar() {
    // By `date --utc --date TIME +%s`.
    for (text, seconds) in [
        ("1970-01-01T00:00:00Z", 0),
        ("1972-02-29T12:00:00Z", 68_212_800),
        ("1999-12-31T23:59:59Z", 946_684_799),
        ("2000-02-29T00:00:00Z", 951_782_400),
        ("2000-03-01T00:00:00Z", 951_868_800),
        ("2026-11-22T08:30:00Z", 1_795_336_200),
        ("2026-11-22T10:30:00+02:00", 1_795_336_200),
        ("2100-03-01T00:00:00Z", 4_107_542_400),
    ] {
        assert_eq!(since(text), Some(seconds * 1_000), "{text}");
    }
    assert_eq!(since("2026-11-22T08:30:00.250Z"), Some(1_795_336_200_250));
    assert_eq!(since("1969-12-31T23:59:59Z"), None);
}
