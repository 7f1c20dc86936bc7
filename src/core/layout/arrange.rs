//! From a stage to a Scene: which arrangement, who stands in which region, and what is drawn beside them.

use crate::scene::{Align, CanvasSize, Content, Fit, Label, LabelStyle, Ornament, Plate, Rect, Rgb, Scene, Tile};
use crate::secret::Pii;
use crate::stage::{Part, Seat, Stage};
use crate::time::SessionTime;

use super::check::scaled;
use super::ornament::{WHITE, text_px};
use super::seating::{Crowd, Path, Seating, is_presenter};
use super::{Arrangement, Layout, Pinned, Region, SMALLEST_TILE_PX, Setting, Speaker, Takes, Then, When, Who, flow};

/// Size of "+3" and of its letters, for 720 lines.
const BADGE_PX: (u32, u32, u32) = (72, 36, 20);
const BADGE: Plate = Plate { colour: Rgb(12, 14, 18), opacity_percent: 80 };

impl Layout {
    /// Gives everybody on the `stage` a place, as far as there is room, and moves nobody without need since the last Scene of `seating`.
    pub fn arrange_calmly(&self, stage: &Stage, setting: &Setting<'_>, seating: &mut Seating, now: SessionTime) -> Scene {
        let canvas = setting.canvas;
        let mut scene = Scene {
            backdrop: self.backdrop.clone(),
            transition: setting.dress.transition.unwrap_or(self.transition),
            audible: stage.audible.clone(),
            ..Scene::empty(now, canvas, self.background)
        };
        let mut frame = self.safe(canvas);
        if let Some(strip) = &setting.dress.strip {
            let (ornaments, rest) = self.strip.cut(strip, setting.title, frame, canvas);
            scene.ornaments.extend(ornaments);
            frame = rest;
        }
        let title = setting.dress.strip.as_ref().and_then(|strip| strip.title.as_ref()).or(setting.title);
        let decorations = self.decorations.iter();
        scene.ornaments.extend(decorations.filter_map(|one| one.on(frame, canvas, setting.dress.language, title)));

        let mut waiting: Vec<&Seat> = stage.seats.iter().collect();
        let (whole, mut pinned) = (frame, Vec::new());
        for place in &self.pinned {
            place.take(&mut waiting, whole, &mut frame, &mut pinned);
        }
        let crowd = Crowd::of(&waiting);
        let right = right_for(&self.arrangements, crowd);
        let path = seating.begin(right, crowd, self.hold, now);
        let regions = at(&self.arrangements, &path);
        let mut last_tiles: Vec<Option<Rect>> = Vec::with_capacity(regions.len());
        for (number, region) in regions.iter().enumerate() {
            let rects = region.rects(&waiting, frame, canvas);
            let candidates: Vec<&Seat> = waiting.iter().copied().filter(|seat| region.welcomes(seat)).collect();
            let seated = seating.seat(number, region, &candidates, rects.len(), self.hold, now);
            waiting.retain(|seat| !seated.iter().any(|other| std::ptr::eq(*other, *seat)));
            scene.tiles.extend(seated.iter().zip(&rects).map(|(seat, rect)| region.tile(seat, *rect)));
            last_tiles.push(rects.last().copied());
        }
        seating.end(regions.len());
        scene.tiles.extend(pinned);
        for (region, last) in regions.iter().zip(last_tiles).rev() {
            let Some(tile) = last.filter(|_| region.count_others) else { continue };
            let before = waiting.len();
            waiting.retain(|seat| !region.welcomes(seat));
            scene.ornaments.extend(badge(before - waiting.len(), tile, canvas));
        }
        if !self.video {
            scene.tiles.iter_mut().for_each(|tile| tile.video = None);
        }
        scene
    }

    /// The canvas without its free edge.
    fn safe(&self, canvas: CanvasSize) -> Rect {
        // A canvas that was not checked cannot overflow what follows.
        let side = |px: u32| px.min(CanvasSize::LONGEST_SIDE_PX) & !1;
        let (width, height) = (side(canvas.width_px), side(canvas.height_px));
        let edge = |px: u32| (px * self.safe_area / 10_000) & !1;
        let (x, y) = (edge(width), edge(height));
        Rect { x, y, width: width - 2 * x, height: height - 2 * y }
    }
}

/// The arrangement for so many: the first whose condition holds. The last one has none, so there always is one.
fn right_for(arrangements: &[Arrangement], crowd: Crowd) -> Path {
    let Some(index) = arrangements.iter().position(|arrangement| arrangement.when.holds(crowd)) else { return Path::new() };
    let mut path = vec![index];
    if let Some(Arrangement { then: Then::Use(used), .. }) = arrangements.get(index) {
        path.extend(right_for(used, crowd));
    }
    path
}

/// The regions at the end of a path.
fn at<'a>(arrangements: &'a [Arrangement], path: &[usize]) -> &'a [Region] {
    let Some((first, rest)) = path.split_first() else { return &[] };
    match arrangements.get(*first).map(|arrangement| &arrangement.then) {
        Some(Then::Regions(regions)) => regions,
        Some(Then::Use(used)) => at(used, rest),
        None => &[],
    }
}

impl When {
    fn holds(&self, crowd: Crowd) -> bool {
        self.tiles.contains(&(crowd.people + crowd.screens))
            && self.people.contains(&crowd.people)
            && self.screens.contains(&crowd.screens)
            && self.presenters.contains(&crowd.presenters)
    }
}

impl Pinned {
    /// Takes whom it is for out of `waiting` and, unless it lies over the others, its part of the `whole` out of what is `left` for them.
    fn take(&self, waiting: &mut Vec<&Seat>, whole: Rect, left: &mut Rect, tiles: &mut Vec<Tile>) {
        let is_meant = |seat: &&Seat| {
            seat.part == Part::Person
                && match &self.who {
                    Who::Name(name) => seat.name == *name,
                    Who::Id(id) => seat.participant == *id,
                    Who::Role(role) => seat.role == *role,
                }
        };
        // Of several the one who came first, whoever speaks.
        let meant = waiting.iter().enumerate().filter(|(_, seat)| is_meant(seat)).min_by_key(|(_, seat)| seat.arrival);
        let Some(index) = meant.map(|(index, _)| index) else { return };
        let rect = self.area.on(whole);
        if rect.width < SMALLEST_TILE_PX || rect.height < SMALLEST_TILE_PX {
            return;
        }
        let seat = waiting.remove(index);
        if !self.over {
            *left = largest_rest(*left, rect);
        }
        tiles.push(Tile {
            participant: seat.participant.clone(),
            video: seat.video.clone(),
            rect,
            // Hands must not be cut off.
            fit: Fit::Contain,
            label: self.labels.map(|style| label(seat, style)),
            speaking: seat.speaking,
        });
    }
}

/// The largest part of `frame` that lies wholly on one side of `taken`; all of it when they are apart.
fn largest_rest(frame: Rect, taken: Rect) -> Rect {
    let (right, bottom) = (frame.x + frame.width, frame.y + frame.height);
    // What lies between two edges, of which the first may be behind the second.
    let between = |from: u32, to: u32| to.saturating_sub(from);
    let behind = (taken.x + taken.width).clamp(frame.x, right);
    let below = (taken.y + taken.height).clamp(frame.y, bottom);
    let sides = [
        Rect { width: between(frame.x, taken.x).min(frame.width), ..frame },
        Rect { x: behind, width: between(behind, right), ..frame },
        Rect { height: between(frame.y, taken.y).min(frame.height), ..frame },
        Rect { y: below, height: between(below, bottom), ..frame },
    ];
    sides.into_iter().max_by_key(|rest| u64::from(rest.width) * u64::from(rest.height)).unwrap_or(frame)
}

impl Region {
    fn welcomes(&self, seat: &Seat) -> bool {
        match self.takes {
            Takes::Anyone => true,
            Takes::Screens => seat.part == Part::Screen,
            Takes::Cameras => seat.part == Part::Person,
            Takes::Presenters => is_presenter(seat),
        }
    }

    /// Where its tiles stand.
    fn rects(&self, waiting: &[&Seat], frame: Rect, canvas: CanvasSize) -> Vec<Rect> {
        let (gap, margin) = (scaled(self.gap_px, canvas), scaled(self.margin_px, canvas));
        let wanted = waiting.iter().filter(|seat| self.welcomes(seat)).count().min(self.at_most as usize);
        flow::rects(flow::inside(self.area.on(frame), margin), self.flow, self.shape, gap, wanted as u32)
    }

    fn tile(&self, seat: &Seat, rect: Rect) -> Tile {
        Tile {
            participant: seat.participant.clone(),
            video: seat.video.clone(),
            rect,
            fit: match seat.part {
                Part::Screen => self.screens,
                Part::Person => self.cameras,
            },
            label: self.labels.map(|style| label(seat, style)),
            speaking: seat.speaking && self.speaker == Speaker::Border,
        }
    }
}

/// What a tile is called. A screen says whose it is, and that it is not its owner.
fn label(seat: &Seat, style: LabelStyle) -> Label {
    let name = match seat.part {
        Part::Screen => Pii::new(format!("{} (screen)", seat.name.expose())),
        Part::Person => seat.name.clone(),
    };
    Label { name, muted: seat.muted, hand: seat.hand.is_some(), style }
}

/// How many more there are, in the lower right corner of the last tile.
fn badge(others: usize, tile: Rect, canvas: CanvasSize) -> Option<Ornament> {
    let (width, height, letters) = BADGE_PX;
    let (width, height) = (scaled(width, canvas).min(tile.width), scaled(height, canvas).min(tile.height));
    let rect = Rect { x: tile.x + tile.width - width, y: tile.y + tile.height - height, width, height };
    (others > 0 && width > 0 && height > 0).then(|| Ornament {
        rect,
        align: Align::Center,
        content: Content::Text(Pii::new(format!("+{others}"))),
        text_px: text_px(letters, canvas),
        colour: WHITE,
        plate: Some(BADGE),
        lines: 1,
    })
}
