//! The test card: what a simulated person sends, so that a machine can read identity, time and sync back from a finished file.
//!
//! All positions are fractions of the picture's width and height, chosen so that a name label at the lower edge and a small crop at the
//! sides hide nothing. Media time 0 of a loop is the same instant in picture and sound.
//! - The whole background has the person's colour.
//! - A strip of [`CELLS`] square-ish cells carries the frame counter: white, black, then [`COUNTER_BITS`] bits, most significant first, white is 1.
//! - A patch is white for the first [`FLASH_FRAMES`] pictures of each second, black otherwise.
//! - Above the strip, a small bar moves every frame, so that no two pictures are equal.
//! - A quiet tone sounds all the time; a beep at another frequency sounds for the first [`BEEP_MS`] of each second. In the simulated meeting people take
//!   turns: who listens sends silence in its place.

/// One simulated person.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Person {
    /// Name shown in the label.
    pub name: &'static str,
    /// Background, as 8-bit limited-range BT.601 Y, Cb, Cr.
    pub ycbcr: (u8, u8, u8),
    /// Continuous tone in Hz, a whole number, so that a loop of whole seconds has no seam.
    pub tone_hz: u32,
    /// Beep in Hz.
    pub beep_hz: u32,
}

/// Pictures a second of all loops.
pub const FPS: u32 = 30;
/// Length of a loop.
pub const LOOP_SECONDS: u32 = 10;
/// Pictures in a loop; the counter runs from 0 to this.
pub const LOOP_FRAMES: u32 = FPS * LOOP_SECONDS;
/// Bits of the frame counter.
pub const COUNTER_BITS: u32 = 10;
/// Cells of the strip: white, black, counter.
pub const CELLS: u32 = 2 + COUNTER_BITS;
/// Left and right edge of the strip.
pub const STRIP_X: (f64, f64) = (0.2, 0.8);
/// Top and bottom edge of the strip.
pub const STRIP_Y: (f64, f64) = (0.40, 0.52);
/// Left and right edge of the flash patch.
pub const FLASH_X: (f64, f64) = (0.35, 0.65);
/// Top and bottom edge of the flash patch.
pub const FLASH_Y: (f64, f64) = (0.58, 0.76);
/// Where the bar moves: its left edge goes from the first value to the second within a loop.
pub const BAR_X: (f64, f64) = (0.15, 0.80);
/// Top and bottom edge of the bar.
pub const BAR_Y: (f64, f64) = (0.18, 0.32);
/// Width of the bar.
pub const BAR_WIDTH: f64 = 0.05;
/// A point that is always background.
pub const COLOUR_AT: (f64, f64) = (0.12, 0.46);
/// Pictures that a flash lasts.
pub const FLASH_FRAMES: u32 = 3;
/// Length of a beep.
pub const BEEP_MS: u32 = 100;
/// Amplitude of the tone, of full scale 1.
pub const TONE_AMPLITUDE: f32 = 0.05;
/// Amplitude of the beep.
pub const BEEP_AMPLITUDE: f32 = 0.15;

/// The people, in the order in which they join. Tones are at least 90 Hz apart, and no beep is a multiple of a tone below.
pub const PEOPLE: [Person; 9] = [
    Person { name: "Ada", ycbcr: (82, 90, 200), tone_hz: 300, beep_hz: 2050 },
    Person { name: "Björn", ycbcr: (100, 70, 80), tone_hz: 390, beep_hz: 2350 },
    Person { name: "Chiara", ycbcr: (70, 190, 100), tone_hz: 480, beep_hz: 2650 },
    Person { name: "Dmitri", ycbcr: (140, 50, 150), tone_hz: 570, beep_hz: 2950 },
    Person { name: "Emeka", ycbcr: (120, 170, 60), tone_hz: 660, beep_hz: 3250 },
    Person { name: "Fatima", ycbcr: (90, 160, 170), tone_hz: 750, beep_hz: 3550 },
    Person { name: "Gül", ycbcr: (60, 110, 110), tone_hz: 840, beep_hz: 3850 },
    Person { name: "Hana", ycbcr: (150, 110, 90), tone_hz: 930, beep_hz: 4150 },
    Person { name: "Ivo", ycbcr: (110, 128, 128), tone_hz: 1020, beep_hz: 4450 },
];
