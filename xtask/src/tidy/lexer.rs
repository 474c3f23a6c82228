//! Just enough of Rust's lexical grammar to tell code from comments and literals.

/// The text with comments and the contents of literals replaced by spaces; line breaks stay, so
/// that line numbers do.
pub(super) fn code_only(text: &str) -> String {
    let mut lexer = Lexer {
        rest: text.chars().collect(),
        at: 0,
        out: String::with_capacity(text.len()),
    };
    while lexer.at < lexer.rest.len() {
        lexer.token();
    }
    lexer.out
}

struct Lexer {
    rest: Vec<char>,
    at: usize,
    out: String,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> char {
        self.rest.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn keep(&mut self) {
        self.out.push(self.peek(0));
        self.at += 1;
    }

    fn blank(&mut self, count: usize) {
        for _ in 0..count {
            if self.at < self.rest.len() {
                self.out.push(if self.peek(0) == '\n' { '\n' } else { ' ' });
                self.at += 1;
            }
        }
    }

    fn token(&mut self) {
        match (self.peek(0), self.peek(1)) {
            ('/', '/') => {
                while self.at < self.rest.len() && self.peek(0) != '\n' {
                    self.blank(1);
                }
            }
            ('/', '*') => self.block_comment(),
            ('"', _) => self.string(),
            ('r', '"' | '#') if !self.follows_word() => self.raw_string(),
            ('b', 'r') if !self.follows_word() && matches!(self.peek(2), '"' | '#') => {
                self.keep();
                self.raw_string();
            }
            ('\'', _) => self.quote(),
            _ => self.keep(),
        }
    }

    fn follows_word(&self) -> bool {
        self.at > 0 && is_word(self.rest[self.at - 1])
    }

    fn block_comment(&mut self) {
        let mut depth = 0;
        loop {
            match (self.peek(0), self.peek(1)) {
                ('/', '*') => depth += 1,
                ('*', '/') => depth -= 1,
                _ => {
                    self.blank(1);
                    if self.at >= self.rest.len() {
                        return;
                    }
                    continue;
                }
            }
            self.blank(2);
            if depth == 0 || self.at >= self.rest.len() {
                return;
            }
        }
    }

    fn string(&mut self) {
        self.keep();
        while self.at < self.rest.len() && self.peek(0) != '"' {
            self.blank(if self.peek(0) == '\\' { 2 } else { 1 });
        }
        if self.at < self.rest.len() {
            self.keep();
        }
    }

    fn raw_string(&mut self) {
        let mut hashes = 0;
        while self.peek(1 + hashes) == '#' {
            hashes += 1;
        }
        if self.peek(1 + hashes) != '"' {
            return self.keep(); // A raw identifier such as `r#type`.
        }
        self.blank(2 + hashes);
        while self.at < self.rest.len() {
            let closes = self.peek(0) == '"' && (1..=hashes).all(|i| self.peek(i) == '#');
            if closes {
                return self.blank(1 + hashes);
            }
            self.blank(1);
        }
    }

    /// A character literal or a lifetime.
    fn quote(&mut self) {
        let bytes = match (self.peek(1), self.peek(2)) {
            ('\\', _) => (3..12).find(|&i| self.peek(i) == '\''),
            (_, '\'') => Some(2),
            _ => None,
        };
        match bytes {
            Some(last) => self.blank(last + 1),
            None => self.keep(),
        }
    }
}

/// Whether the code contains `word` as a whole word.
pub(super) fn has_word(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}
