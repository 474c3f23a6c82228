use super::*;

#[derive(Serialize)]
struct Fruit {
    name: &'static str,
    count: u64,
}

impl Row for Fruit {
    const HEADINGS: &'static [&'static str] = &["NAME", "COUNT"];

    fn cells(&self) -> Vec<String> {
        vec![self.name.to_owned(), self.count.to_string()]
    }
}

#[test]
fn table_aligns_text_left_and_numbers_right() {
    let fruit = [
        Fruit {
            name: "fig",
            count: 7,
        },
        Fruit {
            name: "quince",
            count: 123_456,
        },
    ];
    assert_eq!(
        table(&fruit),
        "NAME     COUNT\nfig          7\nquince  123456"
    );
    assert_eq!(table::<Fruit>(&[]), "NAME  COUNT");
}

#[test]
fn item_carries_the_version_of_the_schema() {
    let fig = Fruit {
        name: "fig",
        count: 7,
    };
    assert_eq!(
        item_json(&fig).unwrap(),
        r#"{"v":1,"name":"fig","count":7}"#
    );
}

#[test]
fn preview_stays_on_one_line_and_cannot_steer_the_terminal() {
    assert_eq!(preview(b"one\ntwo\x1b[2J", 40), "one\\ntwo\\u{1b}[2J");
    assert_eq!(preview("äöü".as_bytes(), 2), "äö…");
    assert_eq!(preview(b"ab", 2), "ab");
}
