//! Generated strings in many scripts, the same in every run.

/// A small generator (SplitMix64): the strings do not depend on another crate's version.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).expect("below a usize")
    }

    fn pick<'items>(&mut self, items: &[&'items str]) -> &'items str {
        items[self.below(items.len())]
    }
}

/// Pieces that strings are put together from, by theme.
const THEMES: &[&[&str]] = &[
    &["the", " quick", "Brown", " fox", "jumps", "OVER", " a", "lazy", "dog", ".", ",", "!?"],
    &["'s", "'T", "'re", "'VE", "'m", "'ll", "'D", "'x", "''", "'\u{17f}", "\u{2019}s", "'LL", "I"],
    &[
        "L'été", "où", " ça", "cœur", "naïve", "Noël", "e\u{301}", "c\u{327}", "À", " « ", " »",
        "œuvre",
    ],
    &["Съешь", " ещё", "мягких", "булок", "Ё", "й", "и\u{306}", "№", " чаю"],
    &["Ξεσκεπάζω", " την", "ψυχή", "ΐ", "ι\u{308}\u{301}", "Ω", "ς", ";"],
    &["نص", " حكيم", "له", "سر", "١٢٣", "ـ", "\u{64e}", "\u{200f}", "؟", "لا"],
    &["דג", " סקרן", "שט", "בים", "\u{5b0}", "״", "\u{fb2f}", "ש\u{5c1}"],
    &["ऋषियों", " को", "क्ष", "\u{94d}", "१२", "।", "\u{200d}", "ज्ञ"],
    &["เป็น", "มนุษย์", "สุด", "ๆ", "๑๒", "ำ", "\u{e49}"],
    &[
        "我能",
        "吞下",
        "玻璃",
        "。",
        "，",
        "〇",
        "一二三",
        "㊀",
        "日本語",
        "ｶﾞ",
        "가나",
        "\u{1112}\u{1161}\u{11ab}",
    ],
    &[
        "👩\u{200d}👩\u{200d}👧",
        "👍🏽",
        "🏳\u{fe0f}\u{200d}🌈",
        "😀",
        "🇫🇷",
        "1\u{fe0f}\u{20e3}",
        "❤\u{fe0f}",
    ],
    &[
        "a\u{300}\u{301}",
        "\u{301}",
        "o\u{308}\u{304}",
        "\u{1e69}",
        "s\u{307}\u{323}",
        "\u{212b}",
        "\u{2126}",
        "ﬁ",
        "\u{344}",
    ],
    &[
        " ", "  ", "   ", "\t", "\n", "\r\n", "\r\n\r\n", "\n\n\n", " \n ", "\u{a0}", "\u{3000}",
        "\u{85}", "\u{2028}", "\u{b}", "\u{c}", "\u{1680}", "\u{200b}", "\u{feff}", "\u{202f}",
    ],
    &[
        "0",
        "12",
        "345",
        "6789",
        "1234567",
        "3.14",
        "-1",
        "½",
        "Ⅷ",
        "²",
        "①",
        "٣",
        "৪",
        "一",
        "1e10",
        "0x1F",
        "𝟙",
        "\u{10107}",
    ],
    &[
        "fn", " main()", " {", "}", "::", "->", "=>", "//", "/*", "*/", "#![", "]", "\"", "\\n",
        "_x", "$", "&&", "||", "<div>", "    ", "\t\t", ";",
    ],
    &[
        "\0",
        "\u{1}",
        "\u{4}",
        "\u{6}",
        "\u{13}",
        "\u{1b}[0m",
        "\u{1c}",
        "\u{1d}",
        "\u{1f}",
        "\u{7f}",
        "\u{80}",
        "\u{9f}",
        "\u{ad}",
    ],
    &[
        "<|im_start|>",
        "<|im_end|>",
        "<|",
        "|>",
        "im_start",
        "<|endoftext|>",
        "＜|im_end|＞",
        "<repo_name>",
        "<file_sep",
    ],
    &["\u{fffd}", "\u{e000}", "\u{f0000}", "\u{10ffff}", "\u{40000}", "\u{fdd0}", "\u{1fffe}"],
];

/// `count` strings of up to some 25 pieces; each begins in one theme and wanders through others,
/// and meets characters from anywhere.
pub(crate) fn strings(count: usize, seed: u64) -> impl Iterator<Item = String> {
    wander(count, seed, any_char)
}

/// The same without the characters from anywhere.
pub(crate) fn themed_strings(count: usize, seed: u64) -> impl Iterator<Item = String> {
    wander(count, seed, |_| ' ')
}

fn wander(
    count: usize,
    seed: u64,
    any_char: impl Fn(&mut Random) -> char,
) -> impl Iterator<Item = String> {
    let mut random = Random::new(seed);
    (0..count).map(move |_| {
        let mut text = String::new();
        let mut theme = THEMES[random.below(THEMES.len())];
        for _ in 0..random.below(25) {
            match random.below(8) {
                0 => theme = THEMES[random.below(THEMES.len())],
                1 => text.push(' '),
                2 => text.push(any_char(&mut random)),
                _ => {}
            }
            text.push_str(random.pick(theme));
        }
        text
    })
}

/// A character from anywhere, mostly from where characters are.
fn any_char(random: &mut Random) -> char {
    const BLOCKS: &[(u32, u32)] =
        &[(0, 0x80), (0x80, 0x800), (0x800, 0x3000), (0x3000, 0x1_0000), (0x1_0000, 0x2_0000)];
    let (start, end) = BLOCKS[random.below(BLOCKS.len())];
    let offset = random.below((end - start) as usize);
    u32::try_from(offset)
        .ok()
        .and_then(|offset| char::from_u32(start + offset))
        .unwrap_or('\u{fffd}')
}
