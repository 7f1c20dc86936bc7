//! Files that are no layouts, and what is said about them.

use super::*;

#[test]
fn bad_files_are_refused_with_exact_messages() {
    let region = |fields: &str| format!("[[arrangement]]\n[[arrangement.region]]\n{fields}\n");
    let area = "area={left=0,top=0,width=100,height=100}";
    let in_region = |text: &str| format!("layout \"x\", arrangement 1, region 1: {text}");
    let at_top = |text: &str| format!("layout \"x\", {text}");
    let fields = "`background`, `backdrop`, `safe_area`, `video`, `hold_ms`, `transition_ms`, `strip`, `pinned`, `ornament`, `arrangement`";
    let two = "at_most=2\narea={left=0,top=0,width=60,height=100}\n[[arrangement.region]]\nat_most=2\narea={left=59.9,top=0,width=40,height=100}";
    let table = [
        ("background = ".to_owned(), at_top("line 1: string values must be quoted, expected literal string")),
        ("colour = 3".to_owned(), at_top(&format!("line 1: unknown field `colour`, expected one of {fields}"))),
        (String::new(), at_top("line 1: missing field `arrangement`")),
        ("arrangement = []".to_owned(), at_top("top level: arrangement must be there at least once")),
        ("background = 'red'\narrangement = []".to_owned(), at_top("top level: background must be a colour such as \"#14161c\"")),
        ("[[arrangement]]\nregion = []".to_owned(), at_top("arrangement 1: region must be there at least once")),
        (region(area), at_top("line 2: missing field `at_most`")),
        (region(&format!("at_most='many'\n{area}")), at_top("line 3: invalid type: string \"many\", expected u32")),
        (
            region(&format!("at_most=1\nflow='ring'\n{area}")),
            at_top("line 4: unknown variant `ring`, expected one of `grid`, `row`, `column`"),
        ),
        (region(&format!("at_most=0\n{area}")), in_region("at_most must be from 1 to 25, and is 0")),
        (region(&format!("at_most=26\n{area}")), in_region("at_most must be from 1 to 25, and is 26")),
        (region(&format!("at_most=1\ngap_px=201\n{area}")), in_region("gap_px must be from 0 to 200, and is 201")),
        (
            region(&format!("at_most=1\ntile_shape='0:0'\n{area}")),
            in_region("tile_shape must be \"free\" or two numbers from 1 to 100 such as \"16:9\""),
        ),
        (region("at_most=1\narea={left=0,top=0,width=0,height=0}"), in_region("area.width must be more than 0")),
        (region("at_most=1\narea={left=0,top=0,width=9,height=0}"), in_region("area.height must be more than 0")),
        (
            region("at_most=1\narea={left=0,top=-1,width=9,height=9}"),
            in_region("area.top must be from 0 to 100 percent, and is -1"),
        ),
        (
            region("at_most=1\narea={left=nan,top=0,width=9,height=9}"),
            in_region("area.left must be from 0 to 100 percent, and is NaN"),
        ),
        (
            region("at_most=1\narea={left=60,top=0,width=50,height=9}"),
            in_region("area.width reaches over the edge of the canvas"),
        ),
        (
            region(two),
            at_top("arrangement 1, region 2: area overlaps that of region 1, and the arrangement does not say overlap = true"),
        ),
        (
            region(&format!(
                "at_most=20\n{}\n[[arrangement.region]]\nat_most=20\n{}",
                "area={left=0,top=0,width=50,height=50}", "area={left=50,top=0,width=50,height=50}"
            )),
            at_top("arrangement 1: at_most must not be more than 25 in all regions together, and is 40"),
        ),
        (
            format!("safe_area=21\n{}", region(&format!("at_most=1\n{area}"))),
            at_top("top level: safe_area must be from 0 to 20 percent, and is 21"),
        ),
        (
            format!("hold_ms=60001\n{}", region(&format!("at_most=1\n{area}"))),
            at_top("top level: hold_ms must be from 0 to 60000, and is 60001"),
        ),
        (
            format!("transition_ms=9999\n{}", region(&format!("at_most=1\n{area}"))),
            at_top("top level: transition_ms must be from 0 to 2000, and is 9999"),
        ),
        (
            format!("backdrop=''\n{}", region(&format!("at_most=1\n{area}"))),
            at_top("top level: backdrop must be the path of a picture"),
        ),
        (
            format!("[strip]\nheight_px=9\n{}", region(&format!("at_most=1\n{area}"))),
            at_top("strip: height_px must be from 16 to 200, and is 9"),
        ),
        (
            format!("[strip]\nside='left'\n{}", region(&format!("at_most=1\n{area}"))),
            at_top("line 2: unknown variant `left`, expected `top` or `bottom`"),
        ),
        (
            format!("[[pinned]]\n{area}\n{}", region(&format!("at_most=1\n{area}"))),
            at_top("pinned 1: name, id, role must be there once: exactly one of them says who it is"),
        ),
        (
            format!("[[pinned]]\nname='a'\nid='b'\n{area}\n{}", region(&format!("at_most=1\n{area}"))),
            at_top("pinned 1: name, id, role must be there once: exactly one of them says who it is"),
        ),
        (
            format!("[[pinned]]\nrole='king'\n{area}\n{}", region(&format!("at_most=1\n{area}"))),
            at_top("line 2: unknown variant `king`, expected one of `attendee`, `presenter`, `moderator`, `interpreter`"),
        ),
        (
            format!("{}{}", format!("[[pinned]]\nname='a'\n{area}\n").repeat(2), region(&format!("at_most=1\n{area}"))),
            at_top("pinned 2: area overlaps that of pinned 1"),
        ),
        (
            format!("{}{}", format!("[[pinned]]\nname='a'\n{area}\n").repeat(6), region(&format!("at_most=1\n{area}"))),
            at_top("top level: pinned must not be there more than 5 times"),
        ),
        (
            region(&format!("at_most=1\nprefer=['loud']\n{area}")),
            at_top("line 4: unknown variant `loud`, expected one of `screens`, `presenters`, `moderators`, `speaker`, `hands`"),
        ),
        (
            region(&format!("at_most=1\nlabels='big'\n{area}")),
            at_top("line 4: unknown variant `big`, expected one of `names`, `lower_third`, `none`"),
        ),
        (
            "[[arrangement]]\nuse='mine'".to_owned(),
            at_top(
                "arrangement 1: use must be one of auto, stage, screen, speaker, grid, interview, single, portrait, audio, and is \"mine\"",
            ),
        ),
        (
            format!("[[arrangement]]\nuse='grid'\n[[arrangement.region]]\nat_most=1\n{area}"),
            at_top("arrangement 1: use must not be there together with regions"),
        ),
        (
            format!("[[ornament]]\n{area}\n{}", region(&format!("at_most=1\n{area}"))),
            at_top("ornament 1: text is missing: an ornament has text, words, title, clock, image or plate"),
        ),
        (
            region(&format!("at_most=1\n{area}")).repeat(2),
            at_top("arrangement 1: when is missing: only the last arrangement is without"),
        ),
        (
            format!("[[arrangement]]\nwhen={{tiles_at_most=1}}\n[[arrangement.region]]\nat_most=1\n{area}"),
            at_top("arrangement 1: when must not be in the last arrangement, which is for everything else"),
        ),
        (
            format!(
                "[[arrangement]]\nwhen={{tiles_at_least=3,tiles_at_most=1}}\n[[arrangement.region]]\nat_most=1\n{area}\n{}",
                region(&format!("at_most=1\n{area}"))
            ),
            at_top("arrangement 1: when can never hold: the least is more than the most"),
        ),
    ];
    for (text, message) in table {
        assert_eq!(Layout::parse("x", &text).unwrap_err().to_string(), message, "{text}");
    }
    assert_eq!(
        Layout::built_in("spiral").unwrap_err().to_string(),
        "there is no layout \"spiral\"; there are: auto, stage, screen, speaker, grid, interview, single, portrait, audio"
    );
}
