//! The table of what was measured, beside what was wanted.

use std::fmt;

/// What a figure should be.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Wanted {
    /// No more than this.
    AtMost(f64),
    /// Exactly this.
    Exactly(f64),
}

impl Wanted {
    fn is_met(self, found: f64) -> bool {
        match self {
            Self::AtMost(bound) => found <= bound,
            // Counts of connections, which a float holds exactly.
            Self::Exactly(count) => (found - count).abs() < 0.5,
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::AtMost(bound) => format!("at most {bound}"),
            Self::Exactly(count) => count.to_string(),
        };
        formatter.pad(&text)
    }
}

/// Figures in the order in which they were measured.
#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    point: &'static str,
    unit: &'static str,
    found: f64,
    wanted: Option<Wanted>,
}

impl Report {
    /// A figure that is a point: it is met or missed.
    pub fn point(&mut self, point: &'static str, found: (f64, &'static str), wanted: Wanted) {
        self.push(point, found, Some(wanted));
    }

    /// A figure for the reader.
    pub fn note(&mut self, point: &'static str, found: (f64, &'static str)) {
        self.push(point, found, None);
    }

    fn push(&mut self, point: &'static str, found: (f64, &'static str), wanted: Option<Wanted>) {
        let (found, unit) = found;
        self.rows.push(Row {
            point,
            unit,
            found,
            wanted,
        });
    }

    /// How many points were met, and how many there are.
    pub fn met(&self) -> (usize, usize) {
        let points = self.rows.iter().filter_map(Row::is_met);
        let met = points.clone().filter(|is_met| *is_met).count();
        (met, points.count())
    }
}

impl Row {
    fn is_met(&self) -> Option<bool> {
        self.wanted.map(|wanted| wanted.is_met(self.found))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "{:<52} {:>12} {:<8} wanted",
            "point", "found", ""
        )?;
        for row in &self.rows {
            let wanted = row
                .wanted
                .map(|wanted| wanted.to_string())
                .unwrap_or_default();
            let verdict = match row.is_met() {
                Some(true) => "ok",
                Some(false) => "missed",
                None => "",
            };
            let (point, found, unit) = (row.point, row.found, row.unit);
            let line = format!("{point:<52} {found:>12.2} {unit:<8} {wanted:<16} {verdict}");
            writeln!(formatter, "{}", line.trim_end())?;
        }
        Ok(())
    }
}
