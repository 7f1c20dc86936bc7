package main

import (
	"fmt"
	"time"

	"github.com/livekit/protocol/livekit"
	lksdk "github.com/livekit/server-sdk-go/v2"
	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	"github.com/pion/rtp/codecs"
	"github.com/pion/webrtc/v4"
)

// person is one participant of a room.
type person struct {
	name    string
	clock   *mediaClock
	store   *loopStore
	say     func(event)
	room    *lksdk.Room
	streams map[string]*published
}

// published is one track of a person.
type published struct {
	gate        *gate
	publication *lksdk.LocalTrackPublication
	layers      []*layer
}

// trackOptions is what a track is made of.
type trackOptions struct {
	// Loops is the loop's name; the person's own when empty.
	Loops string `json:"loops"`
	// Layers are the heights that are sent: one is a plain track, several are simulcast.
	Layers []int `json:"layers"`
	// Codec is vp8, vp9 or h264.
	Codec string `json:"codec"`
	// Resizing sends one stream whose size is another of Layers in each second.
	Resizing bool `json:"resizing"`
	// LevelDBov is the loudness in the packet header (RFC 6464), 0 to 127 below full scale.
	LevelDBov *uint8 `json:"level_dbov"`
	// Muted publishes the track muted.
	Muted bool `json:"muted"`
}

func joinRoom(name, url, token string, clock *mediaClock, noReports bool, store *loopStore, say func(event)) (*person, error) {
	p := &person{name: name, clock: clock, store: store, say: say, streams: map[string]*published{}}
	callback := lksdk.NewRoomCallback()
	callback.OnDisconnectedWithReason = func(reason lksdk.DisconnectionReason) {
		say(event{Event: "disconnected", Who: name, Why: string(reason)})
	}
	callback.OnReconnecting = func() { say(event{Event: "reconnecting", Who: name}) }
	callback.OnReconnected = func() { say(event{Event: "reconnected", Who: name}) }
	room, err := lksdk.ConnectToRoomWithToken(url, token, callback, lksdk.WithAutoSubscribe(false),
		lksdk.WithInterceptors([]interceptor.Factory{&reports{clock: clock, off: noReports}}), lksdk.WithIncludeDefaultInterceptors(true))
	if err != nil {
		return nil, err
	}
	p.room = room
	return p, nil
}

func (p *person) leave() {
	for _, stream := range p.streams {
		stream.gate.stop()
	}
	p.streams = map[string]*published{}
	p.room.Disconnect()
}

// publish makes a track of a kind: microphone, camera, screen or screen_audio.
func (p *person) publish(kind string, options trackOptions) error {
	if _, exists := p.streams[kind]; exists {
		return fmt.Errorf("%s is published already", kind)
	}
	if options.Loops == "" {
		options.Loops = p.name
	}
	switch kind {
	case "microphone":
		return p.publishSound(kind, livekit.TrackSource_MICROPHONE, options)
	case "screen_audio":
		return p.publishSound(kind, livekit.TrackSource_SCREEN_SHARE_AUDIO, options)
	case "camera":
		return p.publishPictures(kind, livekit.TrackSource_CAMERA, options)
	case "screen":
		return p.publishPictures(kind, livekit.TrackSource_SCREEN_SHARE, options)
	default:
		return fmt.Errorf("%q is no kind of track", kind)
	}
}

func (p *person) publishSound(kind string, source livekit.TrackSource, options trackOptions) error {
	packets, err := p.store.sound(options.Loops)
	if err != nil {
		return err
	}
	track, err := lksdk.NewLocalTrack(webrtc.RTPCodecCapability{
		MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2, SDPFmtpLine: "minptime=10;useinbandfec=1"})
	if err != nil {
		return err
	}
	publication, err := p.room.LocalParticipant.PublishTrack(track, &lksdk.TrackPublicationOptions{Name: kind, Source: source, DisableDTX: true})
	if err != nil {
		return err
	}
	level := uint8(29)
	if options.LevelDBov != nil {
		level = *options.LevelDBov
	}
	out := &packeted{track: track, payloader: &codecs.OpusPayloader{}, clockRate: 48000}
	stream := &published{gate: newGate(), publication: publication, layers: []*layer{{packeted: out}}}
	p.start(kind, stream, options)
	// A packet can leave only when its last sample has been captured.
	go stream.gate.pace(p.clock, packetTime, packetMillis*time.Millisecond, func(n int64, isFirst bool) {
		if isFirst {
			p.say(event{Event: "sending", Who: p.name, What: kind, MediaMs: packetTime(n).Milliseconds()})
		}
		_ = out.send(packets[n%int64(len(packets))], packetTime(n), isFirst, &level)
	})
	return nil
}

func (p *person) publishPictures(kind string, source livekit.TrackSource, options trackOptions) error {
	if options.Codec == "" {
		options.Codec = "vp8"
	}
	if len(options.Layers) == 0 {
		options.Layers = []int{720, 360, 180}
	}
	stream := &published{gate: newGate()}
	simulcast := fmt.Sprintf("%s-%s-%d", p.name, kind, time.Now().UnixNano())
	isSimulcast := len(options.Layers) > 1 && !options.Resizing
	var tracks []*lksdk.LocalTrack
	for i, height := range options.Layers {
		loop, err := p.store.pictures(options.Loops, height, options.Codec)
		if err != nil {
			return err
		}
		l := &layer{height: height, loop: loop}
		if i == 0 || isSimulcast {
			settings := []lksdk.LocalTrackOptions{lksdk.WithRTCPHandler(p.onFeedback(kind, l))}
			if isSimulcast {
				quality := livekit.VideoQuality(len(options.Layers) - 1 - i)
				settings = append(settings, lksdk.WithSimulcast(simulcast, &livekit.VideoLayer{
					Quality: quality, Width: uint32(height * 16 / 9), Height: uint32(height), Bitrate: uint32(height) * 2000}))
			}
			track, err := lksdk.NewLocalTrack(capability(options.Codec), settings...)
			if err != nil {
				return err
			}
			tracks = append(tracks, track)
			l.packeted = &packeted{track: track, payloader: newPayloader(options.Codec), clockRate: 90000}
		} else {
			l.packeted = stream.layers[0].packeted
		}
		stream.layers = append(stream.layers, l)
	}
	settings := &lksdk.TrackPublicationOptions{Name: kind, Source: source, VideoWidth: options.Layers[0] * 16 / 9, VideoHeight: options.Layers[0]}
	var err error
	if isSimulcast {
		stream.publication, err = p.room.LocalParticipant.PublishSimulcastTrack(tracks, settings)
	} else {
		stream.publication, err = p.room.LocalParticipant.PublishTrack(tracks[0], settings)
	}
	if err != nil {
		return err
	}
	p.start(kind, stream, options)
	go stream.gate.pace(p.clock, pictureTime, encodeDelay, func(n int64, isFirst bool) {
		if isFirst {
			p.say(event{Event: "sending", Who: p.name, What: kind, MediaMs: pictureTime(n).Milliseconds()})
		}
		if options.Resizing {
			l := stream.layers[int(n/pictureRate)%len(stream.layers)]
			if stream.layers[0].isAsked.Load() {
				l.isAsked.Store(true)
			}
			p.sendPicture(kind, l, stream.layers[0], n, isFirst)
			return
		}
		for _, l := range stream.layers {
			p.sendPicture(kind, l, l, n, isFirst)
		}
	})
	return nil
}

// sendPicture sends picture n of a layer. A key frame that was asked for is the same picture from the twin; the pictures after it
// refer to this one alone, so the chain goes on as if nothing had been.
func (p *person) sendPicture(kind string, l, asked *layer, n int64, isFirst bool) {
	wanted := asked.isAsked.Load()
	unit, isAlone := l.loop.at(n, wanted || isFirst)
	_ = l.packeted.send(unit, pictureTime(n), false, nil)
	if wanted && isAlone {
		asked.isAsked.Store(false)
		p.say(event{Event: "key_sent", Who: p.name, What: kind, Height: l.height, MediaMs: pictureTime(n).Milliseconds(),
			AfterMs: float64(time.Now().UnixNano()-asked.askedAt.Load()) / 1e6})
	}
}

func (p *person) onFeedback(kind string, l *layer) func(rtcp.Packet) {
	return func(packet rtcp.Packet) {
		if l.packeted == nil || !isKeyRequest(packet, uint32(l.packeted.track.SSRC())) {
			return
		}
		if !l.isAsked.Swap(true) {
			l.askedAt.Store(time.Now().UnixNano())
		}
		p.say(event{Event: "key_asked", Who: p.name, What: kind, Height: l.height})
	}
}

func (p *person) start(kind string, stream *published, options trackOptions) {
	p.streams[kind] = stream
	if options.Muted {
		stream.publication.SetMuted(true)
	} else {
		stream.gate.open(0, nil)
	}
}

func (p *person) unpublish(kind string) error {
	stream, exists := p.streams[kind]
	if !exists {
		return fmt.Errorf("%s is not published", kind)
	}
	delete(p.streams, kind)
	stream.gate.stop()
	return p.room.LocalParticipant.UnpublishTrack(stream.publication.SID())
}

// mute tells the room and stops sending; it gives the media time of the last unit that was sent.
func (p *person) mute(kind string) (time.Duration, error) {
	stream, exists := p.streams[kind]
	if !exists {
		return 0, fmt.Errorf("%s is not published", kind)
	}
	last := stream.gate.shut()
	stream.publication.SetMuted(true)
	return last, nil
}

// unmute begins to send again at the next whole second of media time, so that sound begins with a beep, its known first word,
// and pictures with a flash. The room is told only signalLead before. It gives that media time.
func (p *person) unmute(kind string) (time.Duration, error) {
	stream, exists := p.streams[kind]
	if !exists {
		return 0, fmt.Errorf("%s is not published", kind)
	}
	from := (p.clock.media(time.Now()) + 80*time.Millisecond).Truncate(time.Second) + time.Second
	told := make(chan struct{})
	stream.gate.open(from, func() {
		stream.publication.SetMuted(false)
		close(told)
	})
	select {
	case <-told:
		return from, nil
	case <-stream.gate.stopped:
		return 0, fmt.Errorf("%s ended", kind)
	}
}
