//! PDFs that draw more than their bytes say.

use super::media::{as_document, deflated, of};

/// A file of one page with these members and this content. The further objects have the numbers from 6.
fn file(page: &str, font: &str, content: &[u8], dictionary: &str, more: &[Vec<u8>]) -> Vec<u8> {
    let mut objects: Vec<Vec<u8>> = vec![
        b"<</Type/Catalog/Pages 2 0 R>>".to_vec(),
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>".to_vec(),
        format!("<</Type/Page/Parent 2 0 R/Resources<</Font<</F1 5 0 R>>/XObject<</X 6 0 R/Y 7 0 R>>>>{page}>>").into(),
        stream(dictionary, content),
        format!("<</Type/Font/Subtype/Type1/BaseFont/Helvetica{font}>>").into(),
    ];
    objects.extend_from_slice(more);
    let mut file = b"%PDF-1.4\n".to_vec();
    for (at, object) in objects.iter().enumerate() {
        file.extend([format!("{} 0 obj\n", at + 1).as_bytes(), object, b"\nendobj\n"].concat());
    }
    file.extend(b"trailer<</Root 1 0 R>>");
    file
}

fn stream(dictionary: &str, data: &[u8]) -> Vec<u8> {
    [format!("<<{dictionary}/Length {}>>\nstream\n", data.len()).as_bytes(), data, b"\nendstream"].concat()
}

fn shows(words: usize) -> Vec<u8> {
    format!("BT /F1 9 Tf ({}) Tj ET", "word ".repeat(words)).into_bytes()
}

const PAGE: &str = "/Contents 4 0 R";
const FORM: &str = "/Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</Y 7 0 R>>>>";

/// The count with the page's own image and the least text.
fn text(file: &[u8]) -> u64 {
    let mut counts = as_document(file).map(|(protocol, item)| of(protocol, &item).1);
    counts.sort_unstable();
    counts[0]
}

#[test]
fn b1_text_in_a_pdf_counts_as_often_as_it_is_drawn() {
    let map = |times: usize| {
        let long = "0077006f00720064".repeat(times);
        format!("1 begincodespacerange <00> <ff> endcodespacerange 1 beginbfchar <41> <{long}> endbfchar").into_bytes()
    };
    let unicode = "/ToUnicode 6 0 R";
    let codes = format!("BT /F1 9 Tf ({}) Tj ET", "A".repeat(8000)).into_bytes();
    let note = format!("{PAGE}/Annots[<</Subtype/FreeText/Contents({})>>]", "word ".repeat(100_000));
    let named = format!("{PAGE}/Annots[8 0 R]");
    let note_in_hex = stream(
        "/Type/ObjStm/N 1/First 4/Filter/FlateDecode",
        &deflated(format!("8 0 <</Contents<{}>>>", "776f726420".repeat(100_000)).as_bytes()),
    );
    let draws = |times: usize| b"/X Do ".repeat(times);
    let form = |content: &[u8]| stream(FORM, content);
    let ranges = b"1 beginbfrange <0041> <0042> [<0077> <";
    let ranges = [&ranges[..], "0077006f00720064".repeat(130).as_bytes(), b">] endbfrange"].concat();
    let cases = [
        ("one stream named 300 times", file(&format!("/Contents[{}]", "4 0 R ".repeat(300)), "", &shows(400), "", &[])),
        ("a list that stands elsewhere", file("/Contents 6 0 R", "", &shows(400), "", &[b"[4 0 R 4 0 R]".to_vec()])),
        ("a form drawn 100 times", file(PAGE, "", &draws(100), "", &[form(&shows(1000))])),
        ("a form drawn with comments", file(PAGE, "", &b"/X %\nDo ".repeat(100), "", &[form(&shows(1000))])),
        ("a form drawn behind data", file(PAGE, "", &[b"BI ID ( EI ", &draws(100)[..]].concat(), "", &[form(&shows(1000))])),
        ("forms in forms", file(PAGE, "", &draws(20), "", &[form(&b"/Y Do ".repeat(20)), form(&shows(1000))])),
        ("forms without an end", file(PAGE, "", &draws(1), "", &[form(b"/Y Do"), form(b"/Y Do")])),
        ("a form that nothing names", file(PAGE, "", b"/Z Do", "", &[form(&shows(1))])),
        ("an object within a comment", file("/Contents[4 0 R%\n4 0 R]", "", &shows(1), "", &[])),
        ("a code for a long text", file(PAGE, unicode, &codes, "", &[stream("", &map(100))])),
        ("compressed", file(PAGE, unicode, &codes, "", &[stream("/Filter/FlateDecode", &deflated(&map(100)))])),
        (
            "a code of two bytes",
            file(PAGE, unicode, format!("BT <{}> Tj ET", "0042".repeat(1000)).as_bytes(), "", &[stream("", &ranges)]),
        ),
        ("a glyph's name", file(PAGE, "/Encoding<</Differences[65/uni00770077007700770077]>>", &codes, "", &[])),
        ("an annotation", file(&note, "", b"BT ET", "", &[])),
        ("an annotation in a packed object", file(&named, "", b"BT ET", "", &[note_in_hex])),
        ("a text in two streams", file("/Contents[4 0 R 6 0 R]", "", b"BT", "", &[stream("", &shows(100_000)[2..])])),
    ];
    for (what, file) in cases {
        assert!(text(&file) >= 400_000, "{what}: {}", text(&file));
    }
    let pages = (0..50).map(|n| format!("{} 0 R", n + 6)).collect::<Vec<_>>().join(" ");
    let page = b"<</Type/Page/Parent 2 0 R/Contents 4 0 R>>".to_vec();
    let shared = file(&format!("{PAGE}/Kids[{pages}]"), "", &shows(5_000), "", &vec![page; 50]);
    assert!(text(&shared) >= 51 * 25_000, "a text that 51 pages share");
}

#[test]
fn a_pdf_as_programs_write_it_is_counted_by_its_pages() {
    let page = 258 + 1_982 + 3_000;
    let packed = deflated(&shows(20));
    let fonts = "/FontFile2 7 0 R/Title(A title)/ID[<0123456789abcdef>]";
    let map =
        b"begincmap 2 beginbfchar <01> <0041> <02> <006600660069> endbfchar 1 beginbfrange <03> <09> <0042> endbfrange";
    let cases = [
        ("ASCII85 and Flate", file(PAGE, "", &ascii85(&packed), "/Filter [ /ASCII85Decode /FlateDecode ]", &[])),
        ("ASCII85", file(PAGE, "", &ascii85(&shows(20)), "/Filter/ASCII85Decode", &[])),
        (
            "a form",
            file(PAGE, fonts, b"q /X Do Q /Y Do", "", &[stream(FORM, &shows(20)), stream("/Subtype/Image", &[40; 900])]),
        ),
        ("ligatures", file(PAGE, "/ToUnicode 6 0 R", &shows(20), "", &[stream("", map)])),
        ("several streams", file("/Contents [ 4 0 R\n6 0 R ]", "", b"q", "", &[stream("", &shows(20))])),
        ("a signature", file(&format!("{PAGE}/V<</Contents<{}>>>", "0".repeat(16_000)), "", &shows(20), "", &[])),
        ("a word of a text", file(PAGE, "", b"BT (in the stream\nit swims) Tj ET", "", &[])),
    ];
    for (what, file) in cases {
        assert_eq!(text(&file), page, "{what}");
    }
    let hidden = [
        (
            "a filter that stands elsewhere",
            file(PAGE, "", &ascii85(&packed), "/Filter 6 0 R", &[b"/ASCII85Decode".to_vec()]),
        ),
        (
            "ASCII85 twice",
            file(PAGE, "", &ascii85(&ascii85(&packed)), "/Filter[/ASCII85Decode/ASCII85Decode/FlateDecode]", &[]),
        ),
        ("other data", file(PAGE, "", &packed, "/Filter[/ASCII85Decode/FlateDecode]", &[])),
    ];
    for (what, file) in hidden {
        assert!(text(&file) >= 1_000 * page, "{what}");
    }
}

/// No file may keep a lane waiting: the work for each is linear.
#[test]
fn b1_a_drawing_without_an_end_is_counted_at_once() {
    let names: String = (0..20_000).map(|n| format!("/N{n} 6 0 R")).collect();
    let draws: String = (0..20_000).map(|n| format!("/N{n} Do ")).collect();
    let many = |n: usize| format!("<00> <ffff> <{}>", "0041".repeat(n));
    let ranges = format!("{} beginbfrange {} endbfrange", 100_000, many(2).repeat(50_000));
    let cases = [
        file(&format!("{PAGE}/XObject<<{names}>>"), "", draws.as_bytes(), "", &[stream(FORM, draws.as_bytes())]),
        file(PAGE, "/ToUnicode 6 0 R", &shows(1), "", &[stream("", ranges.as_bytes())]),
    ];
    for file in cases {
        assert!(text(&file) >= 1_000 * 5_240);
    }
}

fn ascii85(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    for chunk in bytes.chunks(4) {
        let mut group = [0; 4];
        group[..chunk.len()].copy_from_slice(chunk);
        let mut number = u32::from_be_bytes(group);
        let mut digits = [0; 5];
        for digit in digits.iter_mut().rev() {
            *digit = (number % 85) as u8 + b'!';
            number /= 85;
        }
        text.extend(&digits[..=chunk.len()]);
    }
    text.extend(b"~>");
    text
}
