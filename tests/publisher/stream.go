package main

import (
	"sync"
	"sync/atomic"
	"time"

	lksdk "github.com/livekit/server-sdk-go/v2"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"
	"github.com/pion/webrtc/v4"
)

const (
	// packetBytes keeps a packet with all headers and extensions below the usual path MTU.
	packetBytes = 1160
	// encodeDelay is the time between a picture's capture and its first packet, as a camera would have it.
	encodeDelay = 8 * time.Millisecond
	// signalLead is how long before the first packet an unmute is signalled.
	signalLead = 5 * time.Millisecond
)

// packeted is one RTP stream: numbers packets and gives them the exact time.
type packeted struct {
	track     *lksdk.LocalTrack
	payloader rtp.Payloader
	clockRate uint32
	sequence  uint16
}

func (p *packeted) send(unit []byte, media time.Duration, markFirst bool, level *uint8) error {
	options := &lksdk.SampleWriteOptions{AudioLevel: level}
	parts := p.payloader.Payload(packetBytes, unit)
	for i, part := range parts {
		isLast := i == len(parts)-1
		packet := &rtp.Packet{Header: rtp.Header{
			Version: 2, SequenceNumber: p.sequence, Timestamp: rtpTime(uint32(p.track.SSRC()), media, p.clockRate),
			Marker: isLast && p.clockRate == 90000 || markFirst && i == 0,
		}, Payload: part}
		p.sequence++
		if err := p.track.WriteRTP(packet, options); err != nil {
			return err
		}
	}
	return nil
}

// gate starts and stops one stream while its clock runs on.
type gate struct {
	mutex    sync.Mutex
	isOpen   bool
	openFrom time.Duration // media time of the first unit when isOpen
	onOpen   func()        // called shortly before that unit
	lastSent time.Duration
	stopped  chan struct{}
	once     sync.Once
}

func newGate() *gate { return &gate{stopped: make(chan struct{})} }

func (g *gate) open(from time.Duration, onOpen func()) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	g.isOpen, g.openFrom, g.onOpen = true, from, onOpen
}

func (g *gate) shut() time.Duration {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	g.isOpen, g.onOpen = false, nil
	return g.lastSent
}

func (g *gate) stop() { g.once.Do(func() { close(g.stopped) }) }

// pace calls send for each unit of the given length at an absolute time, so that nothing drifts and a late wake-up is made up for.
func (g *gate) pace(clock *mediaClock, unit func(int64) time.Duration, delay time.Duration, send func(n int64, isFirst bool)) {
	n := int64(0)
	for now := clock.media(time.Now()); unit(n+1) <= now; {
		n += 1 + int64((now-unit(n+1))/unit(1))
	}
	wasOpen := false
	for ; ; n++ {
		due := clock.instant(unit(n)).Add(delay)
		if !g.sleepUntil(due.Add(-signalLead)) {
			return
		}
		g.mutex.Lock()
		isDue := g.isOpen && unit(n) >= g.openFrom
		onOpen := g.onOpen
		if isDue {
			g.onOpen = nil
		}
		g.mutex.Unlock()
		if isDue && onOpen != nil {
			onOpen()
		}
		if !g.sleepUntil(due) {
			return
		}
		g.mutex.Lock()
		isDue = isDue && g.isOpen
		if isDue {
			g.lastSent = unit(n)
		}
		g.mutex.Unlock()
		if isDue {
			send(n, !wasOpen)
		}
		wasOpen = isDue
	}
}

func (g *gate) sleepUntil(at time.Time) bool {
	wait := time.Until(at)
	if wait <= 0 {
		select {
		case <-g.stopped:
			return false
		default:
			return true
		}
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-g.stopped:
		return false
	case <-timer.C:
		return true
	}
}

func pictureTime(n int64) time.Duration {
	return time.Duration(n/pictureRate)*time.Second + time.Duration(n%pictureRate)*time.Second/pictureRate
}

func packetTime(n int64) time.Duration { return time.Duration(n) * packetMillis * time.Millisecond }

// layer is one size of a video track.
type layer struct {
	height   int
	loop     *pictures
	packeted *packeted
	isAsked  atomic.Bool
	askedAt  atomic.Int64
}

func newPayloader(codec string) rtp.Payloader {
	switch codec {
	case "vp9":
		return &codecs.VP9Payloader{}
	case "h264":
		return &codecs.H264Payloader{}
	default:
		return &codecs.VP8Payloader{EnablePictureID: true}
	}
}

func capability(codec string) webrtc.RTPCodecCapability {
	c := webrtc.RTPCodecCapability{ClockRate: 90000, RTCPFeedback: []webrtc.RTCPFeedback{{Type: "nack"}, {Type: "nack", Parameter: "pli"}}}
	switch codec {
	case "vp9":
		c.MimeType, c.SDPFmtpLine = webrtc.MimeTypeVP9, "profile-id=0"
	case "h264":
		c.MimeType, c.SDPFmtpLine = webrtc.MimeTypeH264, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"
	default:
		c.MimeType = webrtc.MimeTypeVP8
	}
	return c
}

// isKeyRequest says whether a feedback packet asks for a key frame of the stream (RFC 4585, 6.3.1; RFC 5104, 4.3.1).
func isKeyRequest(packet rtcp.Packet, ssrc uint32) bool {
	switch request := packet.(type) {
	case *rtcp.PictureLossIndication:
		return request.MediaSSRC == ssrc
	case *rtcp.FullIntraRequest:
		for _, entry := range request.FIR {
			if entry.SSRC == ssrc {
				return true
			}
		}
	}
	return false
}
