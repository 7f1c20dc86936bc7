//! What stands before the first fragment, and the parts of a `moov` that growing and ended files share.
//!
//! In: codec headers. Out: boxes. Pure.

use mp4_atom::{
    Atom, Audio, Avc1, Avcc, Codec, Compressor, Dinf, Dref, DrefEntry, Edts, Elst, ElstEntry, Encode, FourCC, Ftyp, Hdlr, Mdhd,
    Mdia, Minf, Moov, Mp4a, Mvex, Mvhd, Smhd, Stbl, Stco, Stsd, Tkhd, Trak, Trex, Url, Visual, Vmhd, esds,
};

use super::{AAC_FRAME_SAMPLES, Mp4Error, PICTURE_TICKS, SOUND_TRACK, SPARE_LEN, VIDEO_TRACK};
use crate::programme::packet::CodecHeaders;

/// ISO/IEC 14496-12 §8.8.3.1: depends on others, is no sync sample.
pub(super) const FLAGS_DEPENDENT: u32 = 0x0101_0000;
/// ISO/IEC 14496-12 §8.8.3.1: depends on no other sample.
pub(super) const FLAGS_SYNC: u32 = 0x0200_0000;

/// Ticks a second of the pictures' time.
pub(super) fn video_timescale(headers: &CodecHeaders) -> Result<u32, Mp4Error> {
    headers
        .fps
        .checked_mul(PICTURE_TICKS)
        .filter(|&scale| scale > 0)
        .ok_or(Mp4Error::BadHeaders { field: "picture rate", source: None })
}

/// Ticks a second of the movie's time: the sound's, so that edit lists are exact for sound.
pub(super) fn movie_timescale(headers: &CodecHeaders) -> Result<u32, Mp4Error> {
    // The sample entry holds the rate in 16 bits.
    match headers.sample_rate_hz {
        8_000..=65_535 => Ok(headers.sample_rate_hz),
        _ => Err(Mp4Error::BadHeaders { field: "sample rate", source: None }),
    }
}

/// `ftyp`, the spare 16 bytes and `moov` of a growing file. `sound_lead` is how much sound lies before the first picture, in samples.
pub(super) fn head_bytes(headers: &CodecHeaders, sound_lead: u64) -> Result<Vec<u8>, Mp4Error> {
    let mut bytes = Vec::with_capacity(2048);
    ftyp().encode(&mut bytes)?;
    bytes.extend_from_slice(&spare());
    growing_moov(headers, sound_lead)?.encode(&mut bytes)?;
    Ok(bytes)
}

fn ftyp() -> Ftyp {
    let brand = |name: &[u8; 4]| FourCC::new(name);
    Ftyp {
        major_brand: brand(b"isom"),
        minor_version: 512,
        compatible_brands: vec![brand(b"isom"), brand(b"iso6"), brand(b"avc1"), brand(b"mp41")],
    }
}

/// A `free` box of [`SPARE_LEN`] bytes.
pub(super) fn spare() -> [u8; SPARE_LEN as usize] {
    let mut spare = [0; SPARE_LEN as usize];
    spare[3] = SPARE_LEN as u8;
    spare[4..8].copy_from_slice(b"free");
    spare
}

/// The `moov` of a growing file: no samples, defaults for fragments, and the edit lists.
pub(super) fn growing_moov(headers: &CodecHeaders, sound_lead: u64) -> Result<Moov, Mp4Error> {
    let movie_timescale = movie_timescale(headers)?;
    let trex = |track_id, default_sample_duration, default_sample_flags| Trex {
        track_id,
        default_sample_description_index: 1,
        default_sample_duration,
        default_sample_size: 0,
        default_sample_flags,
    };
    Ok(Moov {
        mvhd: mvhd(movie_timescale, 0),
        mvex: Some(Mvex {
            mehd: None,
            trex: vec![trex(VIDEO_TRACK, PICTURE_TICKS, FLAGS_DEPENDENT), trex(SOUND_TRACK, AAC_FRAME_SAMPLES, FLAGS_SYNC)],
        }),
        trak: vec![video_trak(headers)?, sound_trak(headers, sound_lead)?],
        ..Moov::default()
    })
}

/// A movie header.
pub(super) fn mvhd(timescale: u32, duration: u64) -> Mvhd {
    Mvhd { timescale, duration, rate: 1.into(), volume: 1.into(), next_track_id: SOUND_TRACK + 1, ..Mvhd::default() }
}

/// One edit: show the media from `media_time` on for `segment_duration`; zero means as long as there are fragments
/// (ISO/IEC 14496-12 §8.6.6.1).
pub(super) fn edit(segment_duration: u64, media_time: Option<u64>) -> ElstEntry {
    ElstEntry { segment_duration, media_time, media_rate: 1.into() }
}

/// An edit list box.
pub(super) fn edts(entries: Vec<ElstEntry>) -> Option<Edts> {
    Some(Edts { elst: Some(Elst { entries }) })
}

fn video_trak(headers: &CodecHeaders) -> Result<Trak, Mp4Error> {
    let bad_size = Mp4Error::BadHeaders { field: "picture size", source: None };
    let (Ok(width), Ok(height)) = (u16::try_from(headers.width_px), u16::try_from(headers.height_px)) else {
        return Err(bad_size);
    };
    if width == 0 || height == 0 {
        return Err(bad_size);
    }
    let avcc = Avcc::decode_body(&mut &headers.avc_config[..])
        .map_err(|source| Mp4Error::BadHeaders { field: "H.264 configuration", source: Some(source) })?;
    let codec = Codec::Avc1(Avc1 {
        visual: Visual { data_reference_index: 1, width, height, compressor: Compressor::from(""), ..Visual::default() },
        avcc,
        ..Avc1::default()
    });
    let tkhd = Tkhd {
        track_id: VIDEO_TRACK,
        enabled: true,
        in_movie: true,
        width: width.into(),
        height: height.into(),
        ..Tkhd::default()
    };
    let mut minf = minf(codec);
    minf.vmhd = Some(Vmhd::default());
    Ok(trak(tkhd, edit(0, Some(0)), video_timescale(headers)?, b"vide", "Pictures", minf))
}

fn sound_trak(headers: &CodecHeaders, sound_lead: u64) -> Result<Trak, Mp4Error> {
    if headers.aac_config.len() < 2 {
        return Err(Mp4Error::BadHeaders { field: "AAC configuration", source: None });
    }
    if headers.channels == 0 {
        return Err(Mp4Error::BadHeaders { field: "number of sound channels", source: None });
    }
    let timescale = movie_timescale(headers)?;
    let codec = Codec::Mp4a(Mp4a {
        audio: Audio {
            data_reference_index: 1,
            channel_count: headers.channels,
            sample_size: 16,
            sample_rate: u16::try_from(timescale).unwrap_or(u16::MAX).into(),
        },
        esds: mp4_atom::Esds {
            es_desc: esds::EsDescriptor {
                es_id: SOUND_TRACK as u16,
                dec_config: esds::DecoderConfig {
                    // ISO/IEC 14496-1 table 5: MPEG-4 audio; table 6: audio stream.
                    object_type_indication: 0x40,
                    stream_type: 5,
                    dec_specific: Some(esds::DecoderSpecific { raw: headers.aac_config.to_vec(), ..Default::default() }),
                    ..Default::default()
                },
                ..Default::default()
            },
        },
        btrt: None,
        taic: None,
    });
    let tkhd =
        Tkhd { track_id: SOUND_TRACK, enabled: true, in_movie: true, volume: 1.into(), alternate_group: 1, ..Tkhd::default() };
    let mut minf = minf(codec);
    minf.smhd = Some(Smhd::default());
    Ok(trak(tkhd, edit(0, Some(sound_lead)), timescale, b"soun", "Sound", minf))
}

fn minf(codec: Codec) -> Minf {
    Minf {
        dinf: Dinf { dref: Dref { entries: vec![DrefEntry::Url(Url::default())] } },
        stbl: Stbl { stsd: Stsd { codecs: vec![codec] }, stco: Some(Stco::default()), ..Stbl::default() },
        ..Minf::default()
    }
}

fn trak(tkhd: Tkhd, edit: ElstEntry, timescale: u32, handler: &[u8; 4], name: &str, minf: Minf) -> Trak {
    Trak {
        tkhd,
        edts: edts(vec![edit]),
        mdia: Mdia {
            mdhd: Mdhd { timescale, language: "und".into(), ..Mdhd::default() },
            hdlr: Hdlr { handler: FourCC::new(handler), name: name.into() },
            minf,
        },
        ..Trak::default()
    }
}
