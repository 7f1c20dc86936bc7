//! Levels of people: made-up speech in, gains and loudness out. No Opus but where the whole mixer is asked.

use std::f64::consts::TAU;
use std::time::Duration;

use opus::Channels;
use recorder_core::ids::{ParticipantId, TrackId, TrackKind};
use recorder_core::time::SessionTime;

use super::balance::Balance;
use super::level::{Leveller, Slide, Swell};
use super::speech::{HOP, SpeechMeter, Subject};
use super::tests::sender::{RATE, Sender, feed_all, mix, scene, track};
use super::weighting::{SILENT_LUFS, Weighting, lufs};
use super::{LevelSettings, SoundMixer, SoundSettings};

const TARGET: f32 = -16.0;
/// Packets between arrival and playing.
const DELAY: usize = 25;
/// A sentence and the pause behind it.
const SENTENCE_S: f64 = 4.0;
const PAUSE_S: f64 = 2.0;

fn amplitude(db: f64) -> f64 {
    10_f64.powf(db / 20.0)
}

/// Even noise with a power of one, the same at each call.
fn noise(t: f64) -> f64 {
    let hash = ((t * RATE).round() as u64).wrapping_add(7).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let hash = (hash ^ (hash >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    ((hash >> 40) as f64 / f64::from(1 << 23) - 1.0) * 3_f64.sqrt()
}

/// Four syllables a second, in sentences with pauses; the power within a sentence is one.
fn speech(t: f64) -> f64 {
    if t.rem_euclid(SENTENCE_S + PAUSE_S) >= SENTENCE_S {
        return 0.0;
    }
    noise(t + 1_000.0) * (TAU * 2.0 * t).sin().powi(2) / 0.375_f64.sqrt()
}

/// Speech at `level_db` of full scale with a background.
fn talk(level_db: f64, noise_db: f64) -> impl Fn(f64) -> f64 {
    move |t| speech(t) * amplitude(level_db) + noise(t) * amplitude(noise_db)
}

/// A wave through a leveller: input, output, and the gain of each sample.
struct Levelled {
    input: Vec<f32>,
    output: Vec<f32>,
    gains: Vec<f32>,
}

fn levelled(subject: Subject, seconds: usize, wave: impl Fn(f64) -> f64) -> Levelled {
    let input: Vec<f32> = (0..seconds * RATE as usize).map(|n| wave(n as f64 / RATE) as f32).collect();
    let mut leveller = Leveller::new(subject);
    let mut gains = Vec::new();
    for (n, packet) in input.chunks(HOP).enumerate() {
        let both: Vec<f32> = packet.iter().flat_map(|x| [*x, *x]).collect();
        leveller.listen(&both, false, n as i64 * 20_000_000);
        if let Some(played) = n.checked_sub(DELAY) {
            let (mut ones, mut other) = (vec![1.0; HOP], vec![1.0; HOP]);
            leveller.swell(played as i64 * 20_000_000, HOP, TARGET).apply(&mut ones, &mut other);
            assert_eq!(ones, other);
            gains.extend(ones);
        }
    }
    let output = input.iter().zip(&gains).map(|(x, gain)| x * gain).collect();
    Levelled { input, output, gains }
}

impl Levelled {
    fn gain_db(&self, at_s: f64) -> f32 {
        20.0 * self.gains[(at_s * RATE) as usize].log10()
    }

    fn loudness(&self, from_s: f64, until_s: f64) -> f32 {
        integrated(&self.output[(from_s * RATE) as usize..(until_s * RATE) as usize])
    }
}

/// BS.1770-4 of one channel that is on both sides: blocks of 400 ms each 100 ms, both gates.
fn integrated(mono: &[f32]) -> f32 {
    let mut weighting = Weighting::default();
    let steps: Vec<f64> = mono
        .chunks_exact(4_800)
        .map(|step| weighting.energy(&step.iter().flat_map(|x| [*x, *x]).collect::<Vec<_>>(), false) / 4_800.0)
        .collect();
    let blocks: Vec<f32> = steps.windows(4).map(|four| (four.iter().sum::<f64>() / 4.0) as f32).collect();
    let above = |gate: f32| {
        let loud: Vec<f32> = blocks.iter().copied().filter(|power| lufs(*power) > gate).collect();
        lufs(loud.iter().sum::<f32>() / loud.len().max(1) as f32)
    };
    above(above(SILENT_LUFS) - 10.0)
}

#[test]
fn quiet_usual_and_loud_speech_come_out_equally_loud_after_three_seconds() {
    for (level_db, noise_db) in [(-40.0, -75.0), (-26.0, -60.0), (-12.0, -60.0)] {
        let it = levelled(Subject::Speech, 31, talk(level_db, noise_db));
        // Three seconds of speech and the time to know it for such.
        let settled = it.loudness(6.0, 30.0);
        assert!((settled - TARGET).abs() < 1.5, "{level_db} dB: {settled} LUFS");
        let own = integrated(&it.input[..4 * RATE as usize]);
        let late = it.gain_db(3.9) - (TARGET - own);
        assert!(late.abs() < 2.0, "{level_db} dB: {late} dB off at the end of the first sentence");
    }
}

#[test]
fn in_pauses_the_gain_is_held() {
    for level_db in [-40.0, -26.0, -12.0] {
        let it = levelled(Subject::Speech, 31, talk(level_db, -75.0));
        for sentence in 0..4 {
            let pause = f64::from(sentence) * (SENTENCE_S + PAUSE_S) + SENTENCE_S;
            let before = it.gain_db(pause - 0.1);
            for tenth in 0..19 {
                let raised = it.gain_db(pause + f64::from(tenth) * 0.1) - before;
                assert!(raised.abs() < 1.0, "{level_db} dB, sentence {sentence}: {raised} dB");
            }
        }
    }
}

#[test]
fn a_gain_that_is_on_its_way_waits_in_a_pause() {
    let word = |t: f64| if (2.0..3.5).contains(&t) { talk(-40.0, -75.0)(t - 2.0) } else { noise(t) * amplitude(-75.0) };
    let it = levelled(Subject::Speech, 20, word);
    let (then, late) = (it.gain_db(4.1), it.gain_db(18.0));
    assert!((2.0..15.0).contains(&then), "on its way: {then}");
    assert!((late - then).abs() < 1.0, "{then} {late}");
}

#[test]
fn what_is_said_aside_does_not_make_the_rest_louder() {
    // 60 percent of all syllables are 20 dB weaker, as in a programme that BS.1770 gates.
    let aside = |t: f64| if t.rem_euclid(2.5) < 1.5 { amplitude(-20.0) } else { 1.0 };
    let it = levelled(Subject::Speech, 40, |t| speech(t) * aside(t) * amplitude(-26.0) + noise(t) * amplitude(-75.0));
    let loudness = it.loudness(12.0, 36.0);
    assert!((loudness - TARGET).abs() < 1.5, "{loudness} LUFS");
}

#[test]
fn a_background_that_grows_is_known_for_one() {
    let mut meter = SpeechMeter::new(Subject::Speech);
    (0..500).for_each(|_| _ = meter.hop(1e-9));
    assert_eq!(meter.background(), SILENT_LUFS);
    (0..650).for_each(|_| _ = meter.hop(1e-5));
    assert!((meter.background() + 50.7).abs() < 0.1, "{}", meter.background());
}

#[test]
fn gains_are_bounded_and_without_a_step() {
    for (level_db, lowest, highest) in [(-47.0, 23.9, 24.01), (3.0, -12.01, -11.9), (-26.0, 2.0, 8.0)] {
        let it = levelled(Subject::Speech, 31, talk(level_db, -90.0));
        let gain = it.gain_db(29.0);
        assert!((lowest..highest).contains(&gain), "{level_db} dB: {gain}");
        // 12 dB a second are a factor of 1.000029 a sample.
        let steepest = it.gains.windows(2).map(|pair| (pair[1] / pair[0] - 1.0).abs()).fold(0.0, f32::max);
        assert!(steepest < 3.2e-5, "{level_db} dB: {steepest}");
    }
}

#[test]
fn the_background_of_a_bad_microphone_is_not_brought_up() {
    let it = levelled(Subject::Speech, 31, talk(-40.0, -56.0));
    let background = integrated(&it.output[(4.8 * RATE) as usize..(5.9 * RATE) as usize]);
    assert!(background < TARGET - 19.0, "{background} LUFS");
    assert!(it.gain_db(29.0) > 8.0, "as far as it goes: {}", it.gain_db(29.0));
}

#[test]
fn what_is_no_speech_keeps_its_level_to_the_bit() {
    let beeps = |t: f64| {
        let tone = 0.05 * (TAU * 300.0 * t).sin();
        let beep = if t.fract() < 0.1 { 0.15 * (TAU * 2_050.0 * t).sin() } else { 0.0 };
        if (4.35..6.15).contains(&t) || t < 0.55 { 0.0 } else { tone + beep }
    };
    let typing = |t: f64| noise(t) * if (t * 5.0).fract() < 0.15 { 0.02 } else { 0.000_3 };
    let waves: [(&str, &dyn Fn(f64) -> f64); 5] = [
        ("a tone after silence", &|t| if t < 2.0 { 0.0 } else { 0.3 * (TAU * 440.0 * t).sin() }),
        ("a tone with a beep each second, that comes and goes", &beeps),
        ("a fan", &|t| noise(t) * if t < 3.0 { 0.000_1 } else { 0.02 }),
        ("typing", &typing),
        ("a whisper from another room", &|t| talk(-68.0, -80.0)(t)),
    ];
    for (name, wave) in waves {
        let it = levelled(Subject::Speech, 20, wave);
        assert!(it.gains.iter().all(|gain| *gain == 1.0), "{name}: {}", it.gain_db(18.0));
    }
}

#[test]
fn who_moves_away_is_followed_and_a_cough_is_not() {
    let away = levelled(Subject::Speech, 50, |t| talk(if t < 18.0 { -20.0 } else { -34.0 }, -75.0)(t));
    assert!((away.loudness(10.0, 18.0) - TARGET).abs() < 1.5);
    assert!((away.loudness(36.0, 48.0) - TARGET).abs() < 1.5, "{}", away.loudness(36.0, 48.0));
    let cough = |t: f64| if (25.0..25.4).contains(&t) { noise(t) * amplitude(-6.0) } else { talk(-26.0, -75.0)(t) };
    let it = levelled(Subject::Speech, 40, cough);
    assert!((it.gain_db(27.5) - it.gain_db(24.5)).abs() < 2.5, "{} {}", it.gain_db(24.5), it.gain_db(27.5));
}

#[test]
fn garbage_does_no_lasting_harm() {
    let wave = |t: f64| match t {
        t if (1.0..1.5).contains(&t) => [f64::NAN, f64::INFINITY, -1e30, 1e-40][(t * RATE) as usize % 4],
        t => talk(-26.0, -75.0)(t),
    };
    let it = levelled(Subject::Speech, 31, wave);
    assert!(it.gains.iter().all(|gain| gain.is_finite()));
    assert!((it.loudness(18.0, 30.0) - TARGET).abs() < 1.5, "{}", it.loudness(18.0, 30.0));
}

#[test]
fn after_twelve_hours_it_hears_as_in_the_first_minute() {
    let mut meter = SpeechMeter::new(Subject::Speech);
    let power = |hop: u64| {
        let t = hop as f64 * 0.02;
        let said = if t.rem_euclid(6.0) < 4.0 { (TAU * 2.0 * t).sin().powi(4) * 0.002 } else { 0.0 };
        (said + 1e-7) as f32
    };
    let mut first = None;
    for hop in 0..12 * 3_600 * 50 {
        meter.hop(power(hop));
        if hop >= 60 * 50 && hop % (600 * 50) == 0 {
            let (loudness, background) = (meter.loudness().unwrap(), meter.background());
            let (l, b) = *first.get_or_insert((loudness, background));
            assert!((loudness - l).abs() < 0.5 && (background - b).abs() < 0.5, "hop {hop}: {loudness} {background}");
        }
    }
}

#[test]
fn a_slide_goes_there_and_no_further() {
    let mut slide = Slide::new();
    let pace = super::level::Pace { up: 3.0, down: 6.0 };
    let first = slide.towards(6.0, pace, 48_000);
    assert_eq!(first.from, 1.0);
    assert!((20.0 * first.to.log10() - 3.0).abs() < 1e-4);
    assert_eq!(slide.towards(6.0, pace, 48_000).from, first.to, "no step between pieces");
    let last = slide.towards(6.0, pace, 48_000);
    assert_eq!((last, last.from), (slide.hold(), slide.hold().to));
    slide.towards(0.0, pace, 48_000);
    assert_eq!(slide.towards(0.0, pace, 48_000), Swell::NONE);
}

#[test]
fn several_who_speak_make_room_and_screens_give_way() {
    let db = |gain: f32| 20.0 * gain.log10();
    let settings = LevelSettings { duck_db: 12.0, ..LevelSettings::default() };
    let mut balance = Balance::new(settings);
    let mut after = |people: usize, ms: usize| {
        let (mut mics, mut screens) = (Swell::NONE, Swell::NONE);
        (0..ms).for_each(|_| (mics, screens) = balance.next(people, 48));
        (db(mics.to), db(screens.to))
    };
    assert_eq!(after(0, 1_000), (0.0, 0.0));
    let (mics, half_down) = after(1, 150);
    assert!(mics == 0.0 && (half_down + 6.0).abs() < 0.2, "half of the attack: {half_down}");
    for (people, expected) in [(2, -3.01), (4, -6.02), (100, -9.03), (1, 0.0)] {
        let (mics, screens) = after(people, 5_000);
        assert!((mics - expected).abs() < 0.01 && (screens + 12.0).abs() < 0.01, "{people}: {mics} {screens}");
    }
    let (_, half_up) = after(0, 500);
    assert!((half_up + 6.0).abs() < 0.1, "half of the release: {half_up}");
    let mut alone = Balance::new(LevelSettings { speech_lufs: None, duck_attack: Duration::ZERO, ..settings });
    (0..50).for_each(|_| _ = alone.next(9, 960));
    let (mics, screens) = alone.next(9, 960);
    assert!(mics == Swell::NONE && (db(screens.to) + 12.0).abs() < 0.01);
}

fn mixer(level: LevelSettings, names: &[&str], screen: Option<&TrackId>) -> SoundMixer {
    let mut mixer = SoundMixer::new(SoundSettings { level, ..SoundSettings::default() });
    let mut scene = (*scene(0, names)).clone();
    scene.audible.extend(screen.cloned());
    mixer.show(scene.into());
    mixer
}

fn person(name: &str, wave: impl Fn(f64) -> f64) -> Sender<impl Fn(f64) -> (f32, f32)> {
    Sender::with(name, 960, Channels::Mono, move |t| (wave(t - 1.0) as f32, 0.0))
}

#[test]
fn four_people_at_once_are_no_louder_than_one() {
    let names = ["ann", "bob", "cem", "dee"];
    let mut mixer = mixer(LevelSettings::default(), &names, None);
    // Not the same words: their sum has four times the power.
    let mut people: Vec<_> = (0..4_u32)
        .map(|n| person(names[n as usize], move |t| talk(-20.0 - 4.0 * f64::from(n), -75.0)(t + 6_000.0 * f64::from(n))))
        .collect();
    let (left, _) = mix(&mut mixer, 30.0, 960, |m, until| people.iter_mut().for_each(|p| feed_all(m, p, until)));
    let together = integrated(&left[12 * RATE as usize..]);
    assert!((together - TARGET).abs() < 1.5, "{together} LUFS");
}

#[test]
fn a_screen_is_held_down_never_raised_and_gives_way_by_option() {
    let screen = TrackId::new(ParticipantId::new("ann"), TrackKind::ScreenAudio);
    let heard = |level: LevelSettings, level_db: f64, with_speech: bool| {
        let mut mixer = mixer(level, &["bob"], Some(&screen));
        // Music has no pauses; a tone tells it from the speaker.
        let mut music = person("ann", move |t| amplitude(level_db) * 2_f64.sqrt() * (TAU * 1_000.0 * t).sin());
        music.id = screen.clone();
        let mut bob = person("bob", |t| if with_speech { talk(-26.0, -90.0)(t) } else { 0.0 });
        let (left, _) = mix(&mut mixer, 24.0, 960, |m, until| {
            feed_all(m, &mut music, until);
            feed_all(m, &mut bob, until);
        });
        let (gain, _) = super::tests::sender::measure(&left, 18 * 48_000 + 48_000, 96_000, 1_000.0);
        20.0 * (gain / 2_f64.sqrt()).log10()
    };
    let usual = LevelSettings::default();
    // A tone of 1 kHz on both sides at −19 dB of power each has −16 LUFS.
    assert!((heard(usual, -9.0, false) + 19.0).abs() < 0.5, "{}", heard(usual, -9.0, false));
    assert!((heard(usual, -40.0, false) + 40.0).abs() < 0.3, "{}", heard(usual, -40.0, false));
    assert!((heard(usual, -30.0, true) + 30.0).abs() < 0.5, "no ducking by default");
    let ducks = LevelSettings { duck_db: 12.0, ..usual };
    assert!((heard(ducks, -30.0, true) + 42.0).abs() < 1.0, "{}", heard(ducks, -30.0, true));
    assert!((heard(ducks, -30.0, false) + 30.0).abs() < 0.3);
    let off = LevelSettings { speech_lufs: None, ..usual };
    assert!((heard(off, -9.0, false) + 9.0).abs() < 0.3, "off");
}

#[test]
fn who_comes_back_is_as_loud_as_before() {
    let mut mixer = mixer(LevelSettings::default(), &["ann"], None);
    let mut ann = person("ann", talk(-38.0, -80.0));
    let (left, _) = mix(&mut mixer, 76.0, 960, |m, until| {
        while ann.next_ns() < until {
            // Nothing is sent from 22 s to 66 s: long enough for the Track to be dropped.
            if ann.sent == 22 * 48_000 {
                ann.skip(44 * 48_000);
            }
            m.offer(ann.packet());
        }
        assert!(!(60_000_000_000..66_000_000_000).contains(&until) || m.tracks.is_empty());
    });
    assert!(mixer.levels_known.is_empty() && mixer.tracks.contains_key(&track("ann")));
    // A sentence begins at 66 s. Its first second would be 20 LU quieter for somebody unknown.
    let word = integrated(&left[(66.2 * RATE) as usize..67 * RATE as usize]);
    assert!((word - TARGET).abs() < 3.0, "{word} LUFS");
}

#[test]
fn switched_off_it_changes_nothing() {
    let off = LevelSettings { speech_lufs: None, ..LevelSettings::default() };
    let mut mixer = mixer(off, &["ann"], None);
    let mut ann = person("ann", talk(-38.0, -80.0));
    let (left, _) = mix(&mut mixer, 20.0, 960, |m, until| feed_all(m, &mut ann, until));
    let input: Vec<f32> = (0..20 * 48_000).map(|n| talk(-38.0, -80.0)(f64::from(n) / RATE) as f32).collect();
    // Opus gives noise back a little weaker.
    let change = integrated(&left) - integrated(&input);
    assert!(change.abs() < 1.0, "{change} LU");
}

#[test]
fn levels_are_remembered_for_a_bounded_number_of_people() {
    let settings = SoundSettings { max_tracks: 3, ..SoundSettings::default() };
    let mut mixer = SoundMixer::new(settings);
    let mut packet = Sender::new("ann", super::tests::sender::tone(440.0, 0.1)).packet();
    let mut out = vec![0.0; 2 * 48_000];
    for n in 0..8_u64 {
        let at = SessionTime::from_millis(1_000 + n * 31_000);
        packet.track = track(&format!("p{n}"));
        packet.capture = at;
        mixer.offer(packet.clone());
        for second in 0..31 {
            mixer.mix(SessionTime::from_nanos(at.as_nanos() + second * 1_000_000_000), &mut out);
        }
    }
    assert_eq!(mixer.counts.restarts, 0);
    assert!((1..=3).contains(&mixer.levels_known.len()), "{}", mixer.levels_known.len());
}
