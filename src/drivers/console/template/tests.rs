//! What is sent, and what is refused before anything is.

use super::*;

fn allowed() -> Regex {
    Regex::new("[A-Za-z0-9./_-]+").unwrap()
}

/// A password in a message would be in the status, the events and the logs.
#[test]
fn a_secret_is_sent_and_not_shown() {
    let template = Template::parse("get {user}@{host} {{x}} {password}").unwrap();
    let values =
        Values::default().with(Slot::User, "u").with(Slot::Host, "h").with(Slot::Password, "hunter2");
    let line = template.fill(&values, &allowed()).unwrap();
    assert_eq!(line.text, "get u@h {x} hunter2");
    assert_eq!(line.shown, "get u@h {x} ***");
    assert_eq!(format!("{line:?}"), "\"get u@h {x} ***\"");
}

/// A value with a comma or a semicolon would be another argument, or another command.
#[test]
fn a_value_that_could_be_something_else_is_refused() {
    let template = Template::parse("get {path}").unwrap();
    for path in ["a;reboot", "a b", "a\nreboot", "a,b", "$x", ""] {
        let values = Values::default().with(Slot::Path, path);
        assert_eq!(template.fill(&values, &allowed()), Err(ValueError::Forbidden(Slot::Path)), "{path}");
    }
    let any = Regex::new("(?s).*").unwrap();
    let values = Values::default().with(Slot::Path, "a\rreboot");
    assert_eq!(template.fill(&values, &any), Err(ValueError::Forbidden(Slot::Path)), "whatever is allowed");
    assert_eq!(template.fill(&Values::default(), &any), Err(ValueError::Missing(Slot::Path)));
}

/// A device could not be worked whose password has a character that its commands must not have.
#[test]
fn a_password_that_is_asked_for_may_have_any_characters() {
    let values = Values::default().with(Slot::EnablePassword, "a b;c!").with(Slot::User, "a;b");
    let answer = |text: &str| Template::parse(text).unwrap().answer(&values, &allowed());
    let line = answer("{enablePassword}").unwrap();
    assert_eq!((line.text.as_str(), line.shown.as_str()), ("a b;c!", "***"));
    assert_eq!(answer("enable {enablePassword}"), Err(ValueError::Forbidden(Slot::EnablePassword)));
    assert_eq!(answer("{user}"), Err(ValueError::Forbidden(Slot::User)), "no secret");
    let broken = Values::default().with(Slot::EnablePassword, "a\rreload");
    let template = Template::parse("{enablePassword}").unwrap();
    assert_eq!(template.answer(&broken, &allowed()), Err(ValueError::Forbidden(Slot::EnablePassword)));
}

/// A downgrade is forced on a device, or a text about it is sent, only if the user has said yes.
#[test]
fn a_part_of_a_command_depends_on_the_user() {
    let template = Template::parse("update {?Downgrade:FORCE }{path} {?Rewrite:again|once}").unwrap();
    let line = |consents: &[Need]| {
        let values = Values::default().with(Slot::Path, "a").with_consents(consents.iter().copied());
        template.fill(&values, &allowed()).unwrap().text
    };
    assert_eq!(line(&[]), "update a once");
    assert_eq!(line(&[Need::Downgrade]), "update FORCE a once");
    assert_eq!(line(&[Need::Downgrade, Need::Rewrite]), "update FORCE a again");
    for text in ["x {?Downgrad:y}", "x {?Downgrade}"] {
        assert!(matches!(Template::parse(text), Err(TemplateError::UnknownChoice(_))), "{text}");
    }
}

/// A password with `<` would make another document of a request, and would not sign in.
#[test]
fn a_value_in_xml_is_escaped() {
    let template = Template::parse("<p>{password}</p>").unwrap();
    let values = Values::default().with(Slot::Password, "a<&>\"'b");
    let line = template.write(&values, Writing::Xml).unwrap();
    assert_eq!(line.text, "<p>a&lt;&amp;&gt;&quot;&apos;b</p>");
    assert_eq!(line.shown, "<p>***</p>");
    let values = Values::default().with(Slot::Password, "a\u{0}");
    assert_eq!(template.write(&values, Writing::Xml), Err(ValueError::Forbidden(Slot::Password)));
}

/// A name with a slip of the pen would be sent to the device as it stands.
#[test]
fn a_template_with_a_slip_is_refused() {
    assert_eq!(Template::parse("x {hots}"), Err(TemplateError::UnknownValue("hots".to_owned())));
    for text in ["x {host", "x }", "{"] {
        assert_eq!(Template::parse(text), Err(TemplateError::Brace), "{text}");
    }
    assert_eq!(Template::parse("x\ny"), Err(TemplateError::Control));
    assert!(Template::parse("x {host}").unwrap().has(Slot::Host));
}
