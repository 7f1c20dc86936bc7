package main

import (
	"sync/atomic"
	"time"
)

// mediaClock says when media time passes on one person's machine, and what that machine's wall clock claims.
// All pictures and all sound of a person are read off the same mediaClock, so media time 0 is one instant for both.
type mediaClock struct {
	// epoch is the instant of media time 0; it carries Go's monotonic reading.
	epoch time.Time
	// rate is how fast media time runs against real time, for example 1.0001 for a sound card that is 100 ppm fast.
	rate float64
	// ntpOffset is added to the wall clock in sender reports, in nanoseconds.
	ntpOffset atomic.Int64
	// ntpRate is how fast the wall clock in sender reports runs against real time.
	ntpRate float64
}

func newMediaClock(epoch time.Time, ppm, ntpPPM float64, ntpOffset time.Duration) *mediaClock {
	c := &mediaClock{epoch: epoch, rate: 1 + ppm*1e-6, ntpRate: 1 + ntpPPM*1e-6}
	c.ntpOffset.Store(int64(ntpOffset))
	return c
}

// media gives the media time at a real instant.
func (c *mediaClock) media(at time.Time) time.Duration {
	return time.Duration(float64(at.Sub(c.epoch)) * c.rate)
}

// instant gives the real instant of a media time.
func (c *mediaClock) instant(media time.Duration) time.Time {
	return c.epoch.Add(time.Duration(float64(media) / c.rate))
}

// secondsTo1970 is the distance of the NTP epoch (RFC 5905, section 6) from the Unix epoch.
const secondsTo1970 = 2208988800

// ntp gives what this person's wall clock claims at a real instant, as NTP 32.32 fixed point.
func (c *mediaClock) ntp(at time.Time) uint64 {
	elapsed := time.Duration(float64(at.Sub(c.epoch)) * c.ntpRate)
	nanos := uint64(c.epoch.UnixNano() + int64(elapsed) + c.ntpOffset.Load())
	seconds, rest := nanos/1e9+secondsTo1970, nanos%1e9
	return seconds<<32 | rest<<32/1e9
}

// rtpBase is the RTP timestamp of media time 0. Each stream has another one, as RFC 3550 asks for, but it can be told from the SSRC.
func rtpBase(ssrc uint32) uint32 {
	return ssrc * 2654435761
}

// rtpTime gives the RTP timestamp of a media time. Exact for multiples of one picture at 90 kHz and of one packet at 48 kHz.
func rtpTime(ssrc uint32, media time.Duration, clockRate uint32) uint32 {
	whole := int64(media / time.Second)
	rest := int64(media % time.Second)
	ticks := whole*int64(clockRate) + (rest*int64(clockRate)+int64(time.Second)/2)/int64(time.Second)
	return rtpBase(ssrc) + uint32(ticks)
}
