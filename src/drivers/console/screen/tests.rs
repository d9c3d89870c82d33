//! What is left of the bytes of a device.

use super::*;

fn shown(columns: usize, bytes: &str) -> Vec<String> {
    let mut screen = Screen::new(columns);
    screen.put(bytes.as_bytes());
    screen.lines_from(0).into_iter().map(|line| line.text).collect()
}

/// Colours and titles in a prompt would keep it from being recognised.
#[test]
fn codes_that_show_nothing_are_dropped() {
    assert_eq!(shown(80, "\x1b[1;32msw\x1b[0m:\x1b]0;title\x07admin> \x1b(B"), ["sw:admin>"]);
    assert_eq!(shown(80, "\x1b]0;a\x1b\\b\x1bM"), ["b"]);
}

/// A progress bar that is redrawn would otherwise be a line of a thousand numbers.
#[test]
fn a_redrawn_line_is_kept_as_it_was_drawn_last() {
    assert_eq!(shown(80, "  1%\r 50%\r100%\r\ndone"), ["100%", "done"]);
    assert_eq!(shown(80, "abc\x08\x08X"), ["aXc"]);
    assert_eq!(shown(80, "long line\r\x1b[Kshort"), ["short"]);
    assert_eq!(shown(80, "abcdef\x1b[3D\x1b[K"), ["abc"]);
    assert_eq!(shown(80, "abc\r\x1b[2Cx"), ["abx"]);
    assert_eq!(shown(80, "sw# \x1b[24;1Hsw# sh"), ["sw# sh"]);
}

/// A long command comes back in several rows, and with it the password in two halves.
#[test]
fn rows_of_a_wrapped_line_are_one_line() {
    assert_eq!(shown(4, "abcdefghij\r\nk"), ["abcdefghij", "k"]);
    // The shell's own way to get to the next row: a blank, and back to the first column.
    assert_eq!(shown(4, "abcd \refgh"), ["abcdefgh"]);
    assert_eq!(shown(4, "abcdef\x08\x08\x08X"), ["abcXef"]);
}

/// A line that is exactly as wide as the terminal would be joined with the next one.
#[test]
fn a_full_row_ends_with_its_line() {
    assert_eq!(shown(4, "abcd\r\nefgh\r\n"), ["abcd", "efgh", ""]);
}

/// Words of a pager in the middle of a table would break the reading of it.
#[test]
fn the_words_of_a_pager_leave_nothing() {
    for end in ["\r        \rnext", "\x08\x08\x08\x08\x08\x08\x08\x08        \rnext", "next", "\r\x1b[Knext"]
    {
        let mut screen = Screen::new(80);
        screen.put(b"first\r\n--More--");
        screen.remove_last("--More--");
        screen.put(end.as_bytes());
        let lines: Vec<_> = screen.lines_from(0).into_iter().map(|line| line.text).collect();
        assert_eq!(lines, ["first", "next"], "{end:?}");
    }
}

/// A character whose bytes come in two pieces would be two unknown ones.
#[test]
fn a_character_may_come_in_pieces() {
    let mut screen = Screen::new(80);
    for byte in "Größe €\n".as_bytes() {
        screen.put(&[*byte]);
    }
    assert_eq!(screen.lines_from(0)[0].text, "Größe €");
    assert_eq!(shown(80, "a\u{7f}b\0c"), ["abc"]);
    let mut screen = Screen::new(80);
    screen.put(b"Gr\xf6\xdfe");
    assert_eq!(screen.last_line(), "Gr\u{fffd}\u{fffd}e");
}

/// A session of an hour would keep all that was ever shown.
#[test]
fn what_was_read_can_be_forgotten() {
    let mut screen = Screen::new(4);
    screen.put(b"first\r\nsecond\r\nabcdef");
    screen.forget();
    screen.put(b"g\r\nh");
    let lines: Vec<_> = screen.lines_from(0).into_iter().map(|line| line.text).collect();
    assert_eq!((lines, screen.current()), (vec!["abcdefg".to_owned(), "h".to_owned()], 2));
}
