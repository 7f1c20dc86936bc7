//! The canvas of the mixer beside the one of GStreamer's compositor (as in `pipelines/reference-mix.launch`): what both cost and how near both come
//! to the same pictures scaled with care (ffmpeg, Lanczos).

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::{AppSink, AppSrc};
use recorder_core::scene::Scene;
use recorder_core::time::SessionTime;
use roomcast::mixer::picture::Picture;
use roomcast::mixer::video::VideoMixer;

use super::process::{own_s, thread_s};

/// Pictures compared.
const PICTURES: usize = 30;
/// Pictures drawn to measure the cost: those above, again and again.
const DRAWN: usize = 150;

/// The figures.
pub(crate) struct Quality {
    /// Cores of the compositor at 30 pictures a second.
    pub(crate) compositor: f64,
    /// Cores of our mixer.
    pub(crate) mixer: f64,
    /// Cores of one call of libyuv for each new picture.
    pub(crate) scale: f64,
    /// SSIM of each tile: the compositor's and ours.
    pub(crate) ssim: Vec<(f64, f64)>,
}

/// Draws `scene` with both. `loops` are the encoded pictures of each tile, of `size`.
pub(crate) fn compare(scene: &Scene, loops: &[impl AsRef<Path>], size: (u32, u32)) -> Quality {
    let sources: Vec<Vec<Vec<u8>>> = loops.iter().map(|path| decoded(path.as_ref(), size, size)).collect();
    let (reference, compositor_s) = by_compositor(scene, &sources, size);
    let (own, mixer_s) = by_mixer(scene, &sources, size);
    let scale_s = by_libyuv(scene, &sources, size);
    let width = scene.canvas.width_px as usize;
    let of_tile = |index: usize| {
        let rect = scene.tiles[index].rect;
        let truth = decoded(loops[index].as_ref(), size, (rect.width, rect.height));
        let mean = |canvases: &[Vec<u8>]| {
            let compared = canvases.iter().zip(&truth).step_by(10);
            let values: Vec<f64> = compared
                .map(|(canvas, truth)| {
                    let rows = rect.y as usize..(rect.y + rect.height) as usize;
                    let luma = |row: usize| &canvas[row * width + rect.x as usize..][..rect.width as usize];
                    let tile: Vec<u8> = rows.flat_map(|row| luma(row).iter().copied()).collect();
                    ssim(&tile, &truth[..tile.len()], rect.width as usize)
                })
                .collect();
            values.iter().sum::<f64>() / values.len() as f64
        };
        (mean(&reference), mean(&own))
    };
    let per_second = |seconds: f64| seconds * 30.0 / DRAWN as f64;
    Quality {
        compositor: per_second(compositor_s),
        mixer: per_second(mixer_s),
        scale: per_second(scale_s),
        ssim: (0..scene.tiles.len()).map(of_tile).collect(),
    }
}

/// The first pictures of a loop as I420 of size `to`.
fn decoded(path: &Path, from: (u32, u32), to: (u32, u32)) -> Vec<Vec<u8>> {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error", "-i"]).arg(path);
    if from != to {
        command.args(["-vf", &format!("scale={}:{}:flags=lanczos+accurate_rnd+full_chroma_int", to.0, to.1)]);
    }
    let pictures = PICTURES.to_string();
    let output =
        command.args(["-frames:v", &pictures, "-f", "rawvideo", "-pix_fmt", "yuv420p", "-"]).output().expect("ffmpeg starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let length = (to.0 * to.1 + 2 * to.0.div_ceil(2) * to.1.div_ceil(2)) as usize;
    output.stdout.chunks_exact(length).map(<[u8]>::to_vec).collect()
}

fn by_compositor(scene: &Scene, sources: &[Vec<Vec<u8>>], (width, height): (u32, u32)) -> (Vec<Vec<u8>>, f64) {
    gst::init().expect("GStreamer");
    let canvas = scene.canvas;
    let caps = |width: u32, height: u32| {
        format!("video/x-raw,format=I420,width={width},height={height},framerate=30/1,colorimetry=bt601")
    };
    let mut text = "compositor name=canvas background=black max-threads=1".to_owned();
    for (index, tile) in scene.tiles.iter().enumerate() {
        let rect = tile.rect;
        let (x, y, width, height) = (rect.x, rect.y, rect.width, rect.height);
        text +=
            &format!(" sink_{index}::xpos={x} sink_{index}::ypos={y} sink_{index}::width={width} sink_{index}::height={height}");
    }
    text += &format!(" ! {} ! appsink name=picture sync=false", caps(canvas.width_px, canvas.height_px));
    for index in 0..scene.tiles.len() {
        text += &format!(" appsrc name=source_{index} format=time caps={} ! canvas.sink_{index}", caps(width, height));
    }
    let graph = gst::parse::launch(&text).expect("graph").downcast::<gst::Pipeline>().expect("pipeline");
    let before = own_s();
    graph.set_state(gst::State::Playing).expect("it runs");
    for (index, pictures) in sources.iter().enumerate() {
        let source = graph.by_name(&format!("source_{index}")).and_then(|e| e.downcast::<AppSrc>().ok()).expect("source");
        source.set_max_bytes(0);
        let shared: Vec<Arc<[u8]>> = pictures.iter().map(|picture| Arc::from(&picture[..])).collect();
        for n in 0..DRAWN {
            let mut buffer = gst::Buffer::from_slice(shared[n % PICTURES].clone());
            let at = |n: usize| gst::ClockTime::from_nseconds(n as u64 * 1_000_000_000 / 30);
            let filled = buffer.get_mut().expect("new");
            filled.set_pts(at(n));
            filled.set_duration(at(n + 1) - at(n));
            source.push_buffer(buffer).expect("taken");
        }
        source.end_of_stream().expect("ended");
    }
    let sink = graph.by_name("picture").and_then(|e| e.downcast::<AppSink>().ok()).expect("sink");
    let mut canvases = Vec::new();
    while let Ok(sample) = sink.pull_sample() {
        if canvases.len() < PICTURES {
            canvases.push(sample.buffer().expect("buffer").map_readable().expect("readable").to_vec());
        }
    }
    let spent = own_s() - before;
    graph.set_state(gst::State::Null).expect("it ends");
    (canvases, spent)
}

fn by_mixer(scene: &Scene, sources: &[Vec<Vec<u8>>], (width, height): (u32, u32)) -> (Vec<Vec<u8>>, f64) {
    let mut mixer = VideoMixer::new(scene.canvas, 30).expect("mixer");
    let scene = Arc::new(scene.clone());
    mixer.show(scene.clone());
    let pictures: Vec<Vec<Picture>> = sources
        .iter()
        .map(|pictures| pictures.iter().map(|p| Picture::new(width, height, p[..].into()).expect("picture")).collect())
        .collect();
    let (mut canvases, mut spent) = (Vec::new(), 0.0);
    for n in 0..DRAWN {
        let at = SessionTime::from_nanos(1_000_000_000 + n as u64 * 33_333_333);
        for (tile, pictures) in scene.tiles.iter().zip(&pictures) {
            mixer.offer(tile.video.as_ref().expect("a camera"), at, pictures[n % PICTURES].clone());
        }
        let before = thread_s();
        let drawn = mixer.draw(at);
        spent += thread_s() - before;
        if canvases.len() < PICTURES {
            canvases.push(drawn.i420.to_vec());
        }
    }
    (canvases, spent)
}

fn by_libyuv(scene: &Scene, sources: &[Vec<Vec<u8>>], (width, height): (u32, u32)) -> f64 {
    let mut target = vec![0; (scene.canvas.width_px * scene.canvas.height_px * 3 / 2) as usize];
    let before = thread_s();
    for n in 0..DRAWN {
        for (tile, pictures) in scene.tiles.iter().zip(sources) {
            scale(&pictures[n % PICTURES], (width, height), &mut target, (tile.rect.width, tile.rect.height));
        }
    }
    thread_s() - before
}

/// One call of the library for packed pictures with even sides.
fn scale(from: &[u8], (from_width, from_height): (u32, u32), to: &mut [u8], (width, height): (u32, u32)) {
    let (from_luma, luma) = ((from_width * from_height) as usize, (width * height) as usize);
    assert!(from.len() >= from_luma * 3 / 2 && to.len() >= luma * 3 / 2, "pictures are whole");
    let (from_width, from_height, width, height) = (from_width as i32, from_height as i32, width as i32, height as i32);
    // SAFETY: both slices hold three planes of these sizes, as asserted; libyuv reads and writes only there and keeps no pointer.
    let code = unsafe {
        let (source, target) = (from.as_ptr(), to.as_mut_ptr());
        I420Scale(
            source,
            from_width,
            source.add(from_luma),
            from_width / 2,
            source.add(from_luma * 5 / 4),
            from_width / 2,
            from_width,
            from_height,
            target,
            width,
            target.add(luma),
            width / 2,
            target.add(luma * 5 / 4),
            width / 2,
            width,
            height,
            3,
        )
    };
    assert_eq!(code, 0, "libyuv scales");
}

#[link(name = "yuv")]
unsafe extern "C" {
    fn I420Scale(
        src_y: *const u8,
        src_stride_y: i32,
        src_u: *const u8,
        src_stride_u: i32,
        src_v: *const u8,
        src_stride_v: i32,
        src_width: i32,
        src_height: i32,
        dst_y: *mut u8,
        dst_stride_y: i32,
        dst_u: *mut u8,
        dst_stride_u: i32,
        dst_v: *mut u8,
        dst_stride_v: i32,
        dst_width: i32,
        dst_height: i32,
        filtering: i32,
    ) -> i32;
}

/// Mean structural similarity over windows of 8x8 pixels, every fourth pixel (Wang et al. 2004, uniform windows).
fn ssim(a: &[u8], b: &[u8], width: usize) -> f64 {
    let (c1, c2) = ((0.01_f64 * 255.0).powi(2), (0.03_f64 * 255.0).powi(2));
    let (mut sum, mut windows) = (0.0, 0.0);
    for top in (0..a.len() / width - 7).step_by(4) {
        for left in (0..width - 7).step_by(4) {
            let (mut ma, mut mb, mut aa, mut bb, mut ab) = (0.0, 0.0, 0.0, 0.0, 0.0);
            for at in (0..64).map(|i| (top + i / 8) * width + left + i % 8) {
                let (x, y) = (f64::from(a[at]), f64::from(b[at]));
                (ma, mb) = (ma + x, mb + y);
                (aa, bb, ab) = (aa + x * x, bb + y * y, ab + x * y);
            }
            (ma, mb) = (ma / 64.0, mb / 64.0);
            let (va, vb, cov) = (aa / 64.0 - ma * ma, bb / 64.0 - mb * mb, ab / 64.0 - ma * mb);
            sum += (2.0 * ma * mb + c1) * (2.0 * cov + c2) / ((ma * ma + mb * mb + c1) * (va + vb + c2));
            windows += 1.0;
        }
    }
    sum / windows
}
