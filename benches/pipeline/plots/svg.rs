//! A line chart as SVG: the horizontal axis by powers, since what is on it grows by factors, the vertical one from zero.

use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
/// Around the curves: above, right, below, left.
const MARGINS: [f64; 4] = [46.0, 40.0, 52.0, 84.0];
/// Told apart by those who see no colours too: each has dashes of its own.
const STYLES: [(&str, &str); 4] = [("#0b6e99", ""), ("#c4500f", "7 3"), ("#4b7a1e", "2 3"), ("#7d3c98", "10 3 2 3")];
/// Lines across the chart, at most.
const LINES_MAX: f64 = 6.0;
const LEGEND_LINE: f64 = 18.0;

pub struct Chart {
    pub title: &'static str,
    pub x: &'static str,
    pub y: &'static str,
    /// How a value of the vertical axis is written.
    pub label: fn(f64) -> String,
    pub curves: Vec<Curve>,
}

pub struct Curve {
    pub name: &'static str,
    pub points: Vec<(f64, f64)>,
}

/// From values to places.
struct Scale {
    x_min: f64,
    x_max: f64,
    y_max: f64,
}

impl Chart {
    pub fn svg(&self) -> String {
        let (scale, [top, _, _, left]) = (self.scale(), MARGINS);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
             font-size=\"13\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n"
        );
        text(&mut svg, (left, 24.0), "start", &format!("{}: {}", self.title, self.y));
        text(&mut svg, (WIDTH / 2.0, HEIGHT - 12.0), "middle", self.x);
        self.grid(&mut svg, &scale);
        for (at, (curve, style)) in self.curves.iter().zip(STYLES.iter().cycle()).enumerate() {
            curve.draw(&mut svg, &scale, *style);
            let y = top + 12.0 + LEGEND_LINE * at as f64;
            line(&mut svg, &[(left + 10.0, y - 4.0), (left + 42.0, y - 4.0)], *style);
            text(&mut svg, (left + 50.0, y), "start", curve.name);
        }
        svg.push_str("</svg>\n");
        svg
    }

    /// The legend stands above the highest point.
    fn scale(&self) -> Scale {
        let legend = LEGEND_LINE * self.curves.len() as f64 / (HEIGHT - MARGINS[0] - MARGINS[2]);
        Scale {
            x_min: self.points().map(|(x, _)| *x).fold(f64::INFINITY, f64::min),
            x_max: self.points().map(|(x, _)| *x).fold(0.0, f64::max),
            y_max: self.highest() / (0.95 - legend),
        }
    }

    fn points(&self) -> impl Iterator<Item = &(f64, f64)> {
        self.curves.iter().flat_map(|curve| &curve.points)
    }

    fn highest(&self) -> f64 {
        self.points().map(|(_, y)| *y).fold(0.0, f64::max)
    }

    fn grid(&self, svg: &mut String, scale: &Scale) {
        let [_, right, bottom, left] = MARGINS;
        let step = step(self.highest());
        for at in 0..=(self.highest() / step) as u32 {
            let value = step * f64::from(at);
            let y = scale.place((scale.x_min, value)).1;
            line(svg, &[(left, y), (WIDTH - right, y)], ("#d8d8d8", ""));
            text(svg, (left - 8.0, y + 4.0), "end", &(self.label)(value));
        }
        let mut xs: Vec<_> = self.points().map(|(x, _)| *x).collect();
        xs.sort_by(f64::total_cmp);
        xs.dedup();
        for x in xs {
            let place = scale.place((x, 0.0)).0;
            text(svg, (place, HEIGHT - bottom + 18.0), "middle", &crate::figures::thousands(x as u64));
        }
    }
}

impl Curve {
    fn draw(&self, svg: &mut String, scale: &Scale, style: (&str, &str)) {
        let places: Vec<_> = self.points.iter().map(|point| scale.place(*point)).collect();
        line(svg, &places, style);
        for (x, y) in places {
            let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{}\"/>", style.0);
        }
    }
}

impl Scale {
    fn place(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let [top, right, bottom, left] = MARGINS;
        let along = (x / self.x_min).ln() / (self.x_max / self.x_min).ln();
        (left + along * (WIDTH - left - right), HEIGHT - bottom - y / self.y_max * (HEIGHT - top - bottom))
    }
}

/// A round number, so that there are not too many lines.
fn step(most: f64) -> f64 {
    let power = 10_f64.powf((most / LINES_MAX).log10().floor());
    let is_enough = |times: &f64| most / (times * power) <= LINES_MAX;
    [1.0, 2.0, 5.0].into_iter().find(is_enough).unwrap_or(10.0) * power
}

fn line(svg: &mut String, places: &[(f64, f64)], (colour, dashes): (&str, &str)) {
    let places: Vec<_> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let places = places.join(" ");
    let _ = writeln!(
        svg,
        "<polyline points=\"{places}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dashes}\"/>"
    );
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, text: &str) {
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"#222\">{text}</text>");
}
