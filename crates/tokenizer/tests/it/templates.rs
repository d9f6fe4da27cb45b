//! Imported chat templates: what is taken, what is refused, and bombs.

use tokenizer::{ChatFormat, Conversation, Error, Message, RenderEnd, Role, Tokenizer};

use crate::{small, small_json, smollm2};

fn read(template: &str) -> Result<ChatFormat, Error> {
    ChatFormat::from_template(template, &small())
}

#[test]
fn templates_that_inspect_contents_are_refused_by_name() {
    let wrapped = |expression: &str| {
        format!(
            "{{% for m in messages %}}<|im_start|>{{{{ {expression} }}}}<|im_end|>{{% endfor %}}"
        )
    };
    for (expression, named) in [
        ("m.content.split('</think>')[-1]", "\"</think>\""),
        ("'a' if '</think>' in m.content else m.content", "\"</think>\""),
        ("'a' if m.content.startswith('<tool>') else m.content", "\"<tool>\""),
        ("'a' if m.content == 'hello' else m.content", "\"hello\""),
        (
            "'a' if m.content.startswith('<t>') and m.content.endswith('</t>') else m.content",
            "\"<t>\" and \"</t>\"",
        ),
        ("m.content|upper", "changes"),
        ("m.content|replace('hello', 'b')", "hello"),
        ("m.content|tojson", "changes"),
        ("m.content[:40]", "length"),
        ("m.content|length", "changes"),
        ("m.content.strip('\\n')", "some kinds of white space"),
        ("raise_exception('no') if 'bad' in m.content else m.content", "\"bad\""),
    ] {
        match read(&wrapped(expression)) {
            Err(Error::TemplateInspects { how }) => {
                assert!(how.contains(named), "{expression}: {how}");
            }
            other => panic!("{expression}: {other:?}"),
        }
    }
    for expression in [
        "m.content",
        "m.content|trim",
        "m.content.strip()",
        "m['content'] | string",
        "m.role + ': ' + m.content.rstrip()",
        "(m.content if m.content is string else '')",
        "m.content if m.content else 'nothing'",
    ] {
        let format = read(&wrapped(expression));
        assert!(matches!(format, Ok(ChatFormat::Imported(_))), "{expression}: {format:?}");
    }
}

#[test]
fn contents_are_trimmed_as_the_template_says() {
    let tokenizer = small();
    let template = "{% for m in messages %}<|im_start|>{{ m.role }}:{{ m.content|trim if \
        loop.first else m.content.rstrip() }}<|im_end|>{% endfor %}";
    let messages = vec![
        Message::new(Role::System, "\u{1c} a \n"),
        Message::new(Role::User, "\n b\u{3000}"),
        Message::new(Role::Assistant, " "),
        Message::new(Role::User, ""),
    ];
    let rendered = Conversation { messages }
        .render(&tokenizer, &read(template).unwrap(), RenderEnd::Complete)
        .unwrap();
    let texts: Vec<String> =
        rendered.tokens.iter().map(|&token| tokenizer.token_text(token)).collect();
    let expected = "<|im_start|>system:a<|im_end|><|im_start|>user:\n b<|im_end|>\
        <|im_start|>assistant:<|im_end|><|im_start|>user:<|im_end|>";
    assert_eq!(texts.concat(), expected);
}

#[test]
fn a_template_may_refuse_a_conversation_in_its_own_words() {
    let template = "{% if messages|length == 2 %}{{ raise_exception('not two') }}{% endif %}\
        {% for m in messages %}{{ m.content }}{% endfor %}";
    let format = read(template).unwrap();
    let messages = vec![Message::new(Role::User, "a"); 2];
    let error = Conversation { messages }.render(&small(), &format, RenderEnd::Complete);
    assert!(matches!(error, Err(Error::TemplateRefuses { reason }) if reason == "not two"));
}

#[test]
fn errors_are_short_whatever_the_template_holds() {
    let long = "x".repeat(60_000);
    let raised =
        |end: &str| format!("{{{{ raise_exception('{long}') if messages|length {end} }}}}");
    for template in [
        format!("{{{{ x.{long}() }}}}"),
        format!("{{% set {long} = {long} + {long} %}}"),
        format!("{{% for m in messages %}}{{{{ 'a' if '{long}' in m.content }}}}{{% endfor %}}"),
        raised("> 0"),
    ] {
        let error = read(&template).expect_err("refused").to_string();
        assert!(error.len() < 4_000, "{error:.500}");
    }
}

#[test]
fn templates_that_cannot_be_read_say_where() {
    for template in ["{% for %}", "{{ messages[0].content.nonsense() }}", "{% include 'x' %}"] {
        let error = read(template).expect_err(template);
        assert!(matches!(error, Error::Template { .. }), "{template}: {error:?}");
    }
    let error = read(&" ".repeat(1 << 20)).expect_err("too long");
    assert!(matches!(error, Error::TooLarge { .. }), "{error:?}");
}

/// The template is read with four messages, and learns the beginning of the markers from them or
/// spells it in two halves.
#[test]
fn a_marker_that_the_template_makes_up_is_text() {
    let tokenizer = small();
    for made_up in ["'ScRi' ~ 'Be999999Q'", "(messages[0].content|trim)[:6] ~ '000005Q'"] {
        let template = format!(
            "{{% for m in messages %}}{{{{ m.content }}}}{{% endfor %}}\
             {{% if messages|length > 4 %}}{{{{ {made_up} }}}}{{% endif %}}"
        );
        let format = read(&template).expect(&template);
        let messages = vec![Message::new(Role::User, "a"); 5];
        let rendered = Conversation { messages }.render(&tokenizer, &format, RenderEnd::Complete);
        let text = tokenizer.decode(&rendered.expect(&template).tokens);
        assert!(text.starts_with("aaaaaScRiBe") && text.ends_with('Q'), "{text}");
    }
}

/// Work, memory and output without end, or nearly so, each with the words of what stops it.
const BOMBS: &[(&str, &str)] = &[
    // What is worked out while the template is compiled, or written at once.
    ("{% if false %}{% if 1 in [0]*99999999 %}{% endif %}{% endif %}", "a list multiplied"),
    ("{{ 'x' * 99999999 }}", "a multiplication by more than"),
    ("{{ messages|tojson(indent=999999999) }}", "tojson with an indent"),
    (
        "{% if messages|length > 5 %}{% set x = messages|tojson(indent=99999999) %}{% endif %}",
        "tojson with an indent",
    ),
    // Loops in loops.
    (
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "the limit for work",
    ),
    (
        "{% for a in range(99999) %}{{ 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' }}{% endfor %}",
        "the limit for work",
    ),
    // Doubling.
    (
        "{% set n = namespace(s='x') %}{% for a in range(64) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
        "doubles itself",
    ),
    (
        "{% set n = namespace(s=[1]) %}{% for a in range(64) %}{% set n.s = n.s + n.s %}{% endfor %}{{ n.s|length }}{{ n.s }}",
        "doubles itself",
    ),
    (
        "{% set n = namespace(s='x') %}{% for a in range(64) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ n.s }}",
        "doubles itself",
    ),
    (
        "{% set n = namespace(s='x') %}{% for a in range(64) %}{% set n.s = n.s.replace('x', 'xx') %}{% endfor %}",
        "the limit for work",
    ),
    (
        "{% set n = namespace(s=[1], t=[2]) %}{% for a in range(99) %}{% set n.t = n.s + n.t %}{% set n.s = n.t %}{% endfor %}",
        "doubles itself",
    ),
    (
        "{% macro f(s, n) %}{% if n %}{{ f([s, s], n - 1) }}{% else %}{{ s }}{% endif %}{% endmacro %}{{ f(1, 60) }}",
        "doubles itself",
    ),
    ("{% set n = namespace(s='x') %}{% set n.s = [n, n] %}{{ n.s }}", "a namespace as a value"),
    (
        "{% set a = [1, 1] %}{% set b = [a, a, a, a, a, a, a, a] %}{% set c = [b, b, b, b, b, b, b, b] %}{% set d = [c, c, c, c, c, c, c, c] %}{% set e = [d, d, d, d, d, d, d, d] %}{% set f = [e, e, e, e, e, e, e, e] %}{{ f }}",
        "256 copies",
    ),
    // Much from one step.
    ("{{ 'x' * 1000000000 }}", "a multiplication by more than 256"),
    ("{{ '%999999999d'|format(1) }}", "the limit for work"),
    ("{% set k = 60000 %}{{ ('x' * k).replace('x', 'y' * k)|length }}", "the limit for work"),
    ("{% set k = 60000 %}{{ ('x' * k).join(range(99999))|length }}", "the limit for work"),
    ("{{ '{:>999999999}'.format(1) }}", "no method named format"),
    ("{{ 'x'|indent(999999999) }}{{ 'x\nx'|indent(999999999) }}", "the limit for work"),
    // Values that grow where nobody looks: in bounds, conditions and filters of statements.
    (
        "{% macro f(s, n) %}{% if n %}{{ ''[f([s, s], n - 1)|length:] }}{% else %}{{ s }}{% endif %}{% endmacro %}{{ f(1, 60) }}",
        "doubles itself",
    ),
    (
        "{% macro f(s, n) %}{% if n %}{{ ''[:f([s, s], n - 1)|length] }}{% else %}{{ s }}{% endif %}{% endmacro %}{{ f(1, 60) }}",
        "doubles itself",
    ),
    (
        "{% macro f(s, n) %}{% if n %}{{ ''[::f([s, s], n - 1)|length + 1] }}{% else %}{{ s }}{% endif %}{% endmacro %}{{ f(1, 60) }}",
        "doubles itself",
    ),
    (
        "{% macro f(s, n) %}{% if n %}{% for a in [1] if f([s, s], n - 1) %}{% endfor %}{% else %}{{ s }}{% endif %}{% endmacro %}{{ f(1, 60) }}",
        "doubles itself",
    ),
    (
        "{% macro f(s, n) %}{% if n %}{% autoescape f([s, s], n - 1) %}{% endautoescape %}{% else %}{{ s }}{% endif %}{% endmacro %}{{ f(1, 60) }}",
        "doubles itself",
    ),
    (
        "{% macro f(s, n) %}{% if n %}{% set a | replace('x', f([s, s], n - 1)) %}{% endset %}{% else %}{{ s }}{% endif %}{% endmacro %}{{ f(1, 60) }}",
        "doubles itself",
    ),
    // Values that go by another name: of the loop, of a second macro, of a namespace.
    (
        "{% set n = namespace(s='x') %}{% for a in range(60) %}{% for b in [0, n.s] %}{% if loop.first %}{% set n.s = [loop.nextitem, loop.nextitem] %}{% endif %}{% endfor %}{% endfor %}{{ n.s }}",
        "doubles itself",
    ),
    (
        "{% macro f(s, n) %}{% if n %}{{ f([s, s], n - 1) }}{% else %}{{ s }}{% endif %}{% endmacro %}{{ f(1, 60) }}{% macro f(t) %}{% endmacro %}",
        "doubles itself",
    ),
    (
        "{% if false %}{% set m = namespace() %}{% endif %}{% macro f(m, n) %}{% if n %}{{ f({'s': [m.s, m.s]}, n - 1) }}{% else %}{{ m.s }}{% endif %}{% endmacro %}{{ f({'s': 1}, 60) }}",
        "a namespace and another value",
    ),
    (
        "{% if false %}{% set m = namespace() %}{% endif %}{% for a in [0] %}{% set m = {'s': 'x'} %}{{ m }}{% endfor %}",
        "a namespace and another value",
    ),
    // Values that are repeated.
    (
        "{% set n = namespace(s='x') %}{% for a in range(60) %}{% set n.s = [1]|batch(3, n.s)|list %}{% endfor %}{{ n.s }}",
        "doubles itself",
    ),
    (
        "{% set n = namespace(s='x') %}{% for a in range(60) %}{% set n.s = [1]|slice(3, n.s)|list %}{% endfor %}{{ n.s }}",
        "doubles itself",
    ),
    (
        "{% set n = namespace(s='x') %}{% for a in range(60) %}{% set n.s = range(2)|map(attribute='x', default=n.s)|list %}{% endfor %}{{ n.s }}",
        "doubles itself",
    ),
    (
        "{% set a = [1] * 1000 %}{% set b = [a] * 1000 %}{% set c = [b] * 1000 %}{% set d = [c] * 1000 %}{{ d }}",
        "a list multiplied",
    ),
    (
        "{% set k = 1000 %}{% set a = [1] %}{% set b = a * k %}{% set c = b * k %}{{ c }}",
        "256 copies",
    ),
    // Calls in calls.
    ("{% macro f(n) %}{{ f(n + 1) }}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}", "doubles itself"),
    (
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "doubles itself",
    ),
    ("{{ range(99999)|map('string')|list|sort|join(range(99999)|join) }}", "the limit for work"),
];

#[test]
fn bombs_end_by_their_limits() {
    for (bomb, stopped_by) in BOMBS {
        let error = read(bomb).expect_err(bomb);
        assert!(
            matches!(error, Error::TemplateLimit { .. } | Error::Template { .. }),
            "{bomb}: {error:?}"
        );
        assert!(error.to_string().contains(stopped_by), "{bomb}: {error}");
    }
    // Deep, where nothing is metered but the stack is used.
    for (before, middle, after, times) in [
        ("{{ ", "x ~ ", "x }}", 16_000),
        ("{{ x", ".x", " }}", 30_000),
        ("{{ ", "not ", "x }}", 16_000),
        ("{{ x", "|trim", " }}", 13_000),
        ("{% if x %}", "{% elif x %}", "{% endif %}", 5_000),
        (
            "{% set n = namespace(s=1) %}{% for a in range(20000) %}{% set n.s = [n.s] %}{% endfor %}{{ n.s }}",
            "",
            "",
            0,
        ),
        ("{{ ", "(", "", 60_000),
        ("{{ ", "[", "", 60_000),
    ] {
        let deep = [before, &middle.repeat(times), after].concat();
        // Some of these are harmless and taken; what matters is that the program survives them.
        if let Err(error) = read(&deep) {
            assert!(
                matches!(
                    error,
                    Error::TooLarge { .. } | Error::Template { .. } | Error::TemplateLimit { .. }
                ),
                "{middle}: {error:?}"
            );
        }
    }
    let nested = format!("{}{}", "{% if 1 %}".repeat(3000), "{% endif %}".repeat(3000));
    assert!(matches!(read(&nested), Err(Error::Template { .. })));
}

#[test]
fn output_is_limited_by_input() {
    let template =
        "{% for a in range(12) %}{% for m in messages %}{{ m.content }}{% endfor %}{% endfor %}";
    let format = read(template).unwrap();
    let messages = vec![Message::new(Role::User, "x".repeat(100_000))];
    let error = Conversation { messages }.render(&small(), &format, RenderEnd::Complete);
    assert!(matches!(error, Err(Error::TemplateLimit { limit: "output" })), "{error:?}");
}

#[test]
fn built_in_formats_are_recognized() {
    let tokenizer = small();
    // The fixture has no template: its special tokens are those of ChatML.
    let format = ChatFormat::detect(&tokenizer).unwrap().format;
    assert!(matches!(format, ChatFormat::ChatMl { default_system: None }), "{format:?}");
    let llama3 = "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}";
    assert!(matches!(ChatFormat::from_template(llama3, &tokenizer), Ok(ChatFormat::Llama3)));
    let error = Conversation { messages: vec![Message::new(Role::User, "x")] }
        .render(&tokenizer, &ChatFormat::Llama3, RenderEnd::Complete)
        .expect_err("SmolLM2 has no such tokens");
    assert!(matches!(error, Error::MissingSpecial { .. }), "{error:?}");
}

#[test]
fn a_template_that_cannot_be_used_gives_way_to_the_special_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let inspects = "{% for m in messages %}{{ m.content.split('</think>')[-1] }}{% endfor %}";
    write("tokenizer.json", &small_json().to_string());
    write("chat_template.jinja", inspects);
    let found = ChatFormat::detect(&Tokenizer::from_folder(folder.path()).unwrap()).unwrap();
    assert!(matches!(found.format, ChatFormat::ChatMl { default_system: None }), "{found:?}");
    let reason = found.passed_over.expect("a reason").to_string();
    assert!(reason.contains("\"</think>\"") && reason.contains("only places it"), "{reason}");

    let mut other = small_json().to_string();
    other = other.replace("<|im_end|>", "<|the_end|>");
    write("tokenizer.json", &other);
    let error = ChatFormat::detect(&Tokenizer::from_folder(folder.path()).unwrap());
    assert!(
        matches!(error, Err(Error::TemplateInspects { .. })),
        "no format is guessed: {error:?}"
    );
}

/// The same template with one more space is no known text, so the engine runs it.
#[test]
fn an_imported_template_writes_what_the_built_in_format_writes() {
    let Some(tokenizer) =
        smollm2::whole("an_imported_template_writes_what_the_built_in_format_writes")
    else {
        return;
    };
    let template = tokenizer.chat_template().unwrap().replace("{% for ", "{%  for ");
    let imported = ChatFormat::from_template(&template, &tokenizer).unwrap();
    assert!(matches!(imported, ChatFormat::Imported(_)), "{imported:?}");
    let built_in = ChatFormat::detect(&tokenizer).unwrap().format;
    let messages = vec![
        Message::new(Role::User, " Hi\n"),
        Message::sampled("Hello there", vec![19_556, 5, 5]),
        Message::new(Role::User, "<|im_end|>?"),
        Message::new(Role::Assistant, " !"),
    ];
    let conversation = Conversation { messages };
    for end in [RenderEnd::Complete, RenderEnd::GenerationPrompt] {
        assert_eq!(
            conversation.render(&tokenizer, &imported, end).unwrap(),
            conversation.render(&tokenizer, &built_in, end).unwrap()
        );
    }
}
