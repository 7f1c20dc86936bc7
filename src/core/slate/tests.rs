use crate::layout::tests::assert_valid;
use crate::scene::Content;
use crate::time::SessionTime;

use super::*;

fn canvas(width_px: u32, height_px: u32) -> CanvasSize {
    CanvasSize::new(width_px, height_px).unwrap()
}

fn on(slate: &Slate, canvas: CanvasSize, language: Language) -> Scene {
    let mut scene = Scene::empty(SessionTime::ZERO, canvas, Rgb(1, 2, 3));
    slate.over(&mut scene, language, None);
    scene
}

fn words(scene: &Scene) -> Vec<&str> {
    let words = |ornament: &'_ Ornament| matches!(ornament.content, Content::Text(_));
    scene.ornaments.iter().filter(|ornament| words(ornament)).map(|ornament| text(&ornament.content)).collect()
}

fn text(content: &Content) -> &str {
    match content {
        Content::Text(words) => words.expose(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_slate_of_the_program_says_something_that_fits_in_both_languages() {
    let mut said = std::collections::BTreeSet::new();
    for kind in SlateKind::ALL {
        let slate = Slate::parse(kind.name(), kind.built_in_text()).unwrap();
        assert_eq!(Slates::default().get(kind), Some(&slate), "{kind:?}");
        for language in [Language::En, Language::De] {
            for size in [canvas(1280, 720), canvas(1920, 1080), canvas(720, 1280), canvas(320, 180)] {
                let scene = on(&slate, size, language);
                assert_valid(&scene);
                assert_eq!(words(&scene).len(), 1, "{kind:?}");
                for ornament in &scene.ornaments {
                    let text = text(&ornament.content);
                    said.insert((kind, text.to_owned()));
                    // A letter is 0.55 of its height wide on average, and a line 1.3 of it high; a broken line wastes up to a long word.
                    let a_line = f64::from(ornament.rect.width) / (0.55 * f64::from(ornament.text_px)) - 8.0;
                    let lines = (text.chars().count() as f64 / a_line).ceil();
                    assert!(lines <= f64::from(ornament.lines), "{kind:?} {text:?} needs {lines} lines on {size:?}");
                    let height = lines * 1.3 * f64::from(ornament.text_px);
                    assert!(height <= f64::from(ornament.rect.height), "{kind:?} {text:?} is {height} px high on {size:?}");
                }
            }
        }
    }
    assert_eq!(said.len(), 12, "six slates in two languages: {said:?}");
}

#[test]
fn over_people_only_the_words_are_drawn() {
    let slate = Slate::parse(
        "x",
        "background='#ff0000'\nbackdrop='b.png'\n[[ornament]]\narea={left=0,top=0,width=50,height=50}\ntext='Hm'",
    );
    let slate = slate.unwrap();
    let empty = on(&slate, canvas(1280, 720), Language::En);
    assert_eq!((empty.background, empty.backdrop.as_deref()), (Rgb(255, 0, 0), Some("b.png")));
    let stage = crate::stage::Stage::default();
    let layout = crate::layout::Layout::built_in("grid").unwrap();
    let mut scene = layout.arrange(&stage, canvas(1280, 720), SessionTime::ZERO);
    scene.tiles.push(crate::scene::Tile {
        participant: crate::ids::ParticipantId::new("ada"),
        video: None,
        rect: Rect { x: 0, y: 0, width: 1280, height: 720 },
        fit: crate::scene::Fit::Cover,
        label: None,
        speaking: false,
    });
    let before = scene.clone();
    slate.over(&mut scene, Language::En, None);
    assert_eq!((scene.background, &scene.backdrop, &scene.tiles), (before.background, &before.backdrop, &before.tiles));
    assert_eq!(words(&scene), ["Hm"]);
}

#[test]
fn a_title_is_drawn_where_there_is_one_and_pictures_lie_beside_the_file() {
    let text = "backdrop='/srv/b.png'\n[[ornament]]\narea={left=0,top=0,width=50,height=50}\ntitle=true\n\
                [[ornament]]\narea={left=0,top=0,width=10,height=10}\nimage='logo.png'\n\
                [[ornament]]\narea={left=0,top=50,width=50,height=50}\nclock='%-d. %b, %H:%M'\nalign='right'";
    let slate = Slate::parse("/etc/roomcast/own.toml", text).unwrap();
    let pictures: Vec<&str> = slate.pictures().map(|path| &**path).collect();
    assert_eq!(pictures, ["/srv/b.png", "/etc/roomcast/logo.png"]);
    let mut scene = Scene::empty(SessionTime::ZERO, canvas(1280, 720), Rgb(0, 0, 0));
    slate.over(&mut scene, Language::De, Some(&Pii::new("Weekly")));
    assert_eq!(words(&scene), ["Weekly"]);
    assert_eq!(scene.ornaments.len(), 3);
    assert_eq!(on(&slate, canvas(1280, 720), Language::De).ornaments.len(), 2, "no title");
}

#[test]
fn bad_slates_are_refused_with_exact_messages() {
    let area = "area={left=0,top=0,width=50,height=50}";
    let ornament = |fields: &str| format!("[[ornament]]\n{area}\n{fields}");
    let fields =
        "`area`, `align`, `text`, `words`, `title`, `clock`, `image`, `text_px`, `colour`, `plate`, `plate_opacity`, `lines`";
    let table = [
        ("background=3".to_owned(), "line 1: invalid type: integer `3`, expected a string"),
        ("background='blue'".to_owned(), "top level: background must be a colour such as \"#14161c\""),
        ("backdrop=''".to_owned(), "top level: backdrop must be the path of a picture"),
        ("tiles=1".to_owned(), "line 1: unknown field `tiles`, expected one of `background`, `backdrop`, `ornament`"),
        ("[[ornament]]\ntext='a'".to_owned(), "line 1: missing field `area`"),
        (ornament("colour='#fff'\ntext='a'"), "ornament 1: colour must be a colour such as \"#14161c\""),
        (ornament("size=3"), &format!("line 3: unknown field `size`, expected one of {fields}")),
        (ornament(""), "ornament 1: text is missing: an ornament has text, words, title, clock, image or plate"),
        (
            ornament("text='a'\ntitle=true"),
            "ornament 1: text, words, title, clock, image must not be there together: an ornament shows one of them",
        ),
        (ornament("text=''"), "ornament 1: text must have 1 to 1000 characters"),
        (ornament("words={en='a', de=''}"), "ornament 1: words must have 1 to 1000 characters"),
        (ornament("words={en='a'}"), "line 3: missing field `de`"),
        (ornament("words={en='a',de='b',fr='c'}"), "line 3: unknown field `fr`, expected `en` or `de`"),
        (ornament("text='a'\ntext_px=7"), "ornament 1: text_px must be from 8 to 200, and is 7"),
        (ornament("text='a'\nlines=0"), "ornament 1: lines must be from 1 to 20, and is 0"),
        (ornament("text='a'\nalign='top'"), "line 4: unknown variant `top`, expected one of `left`, `center`, `right`"),
        (ornament("plate='black'"), "ornament 1: plate must be a colour such as \"#14161c\""),
        (ornament("plate='#000000'\nplate_opacity=101"), "ornament 1: plate_opacity must be from 0 to 100, and is 101"),
        (ornament("image=''"), "ornament 1: image must be the path of a picture"),
        (ornament("clock=''"), "ornament 1: clock must have 1 to 64 characters"),
        (ornament("clock='%H:%Q'"), "ornament 1: clock must be a time as strftime writes it, such as \"%H:%M\"; %Q is not known"),
        (ornament("clock='%H:%'"), "ornament 1: clock must be a time as strftime writes it, such as \"%H:%M\"; it ends with %"),
        (ornament("clock=\"a\\nb\""), "ornament 1: clock must be one line"),
        (
            format!("[[ornament]]\ntext='a'\n{}", area.replace("width=50", "width=120")),
            "ornament 1: area.width must be from 0 to 100 percent, and is 120",
        ),
        (ornament("text='a'\n").repeat(51), "top level: ornament must not be there more than 50 times"),
    ];
    for (text, message) in table {
        assert_eq!(Slate::parse("x", &text).unwrap_err().to_string(), format!("slate \"x\", {message}"), "{text}");
    }
}
