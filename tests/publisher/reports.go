package main

import (
	"strings"
	"sync"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
)

// reports makes the sender reports of one person's connections (RFC 3550, section 6.4.1) from that person's clock,
// and takes away those of the WebRTC stack, which would claim the time of this machine.
type reports struct {
	clock *mediaClock
	// off sends none at all.
	off bool
}

// NewInterceptor is called once for each peer connection.
func (r *reports) NewInterceptor(string) (interceptor.Interceptor, error) {
	i := &reporter{reports: r, streams: map[uint32]*sent{}, stop: make(chan struct{})}
	return i, nil
}

type sent struct {
	clockRate uint32
	packets   uint32
	octets    uint32
}

type reporter struct {
	interceptor.NoOp
	*reports
	mutex   sync.Mutex
	writer  interceptor.RTCPWriter
	streams map[uint32]*sent
	stop    chan struct{}
	once    sync.Once
}

func (i *reporter) BindRTCPWriter(writer interceptor.RTCPWriter) interceptor.RTCPWriter {
	i.mutex.Lock()
	i.writer = writer
	i.mutex.Unlock()
	go i.run()
	return interceptor.RTCPWriterFunc(func(packets []rtcp.Packet, attributes interceptor.Attributes) (int, error) {
		kept := packets[:0:0]
		for _, packet := range packets {
			if _, isReport := packet.(*rtcp.SenderReport); !isReport {
				kept = append(kept, packet)
			}
		}
		if len(kept) == 0 {
			return 0, nil
		}
		return writer.Write(kept, attributes)
	})
}

func (i *reporter) BindLocalStream(info *interceptor.StreamInfo, writer interceptor.RTPWriter) interceptor.RTPWriter {
	stream := &sent{clockRate: info.ClockRate}
	if strings.EqualFold(info.MimeType, "video/rtx") {
		return writer
	}
	i.mutex.Lock()
	i.streams[info.SSRC] = stream
	i.mutex.Unlock()
	return interceptor.RTPWriterFunc(func(header *rtp.Header, payload []byte, attributes interceptor.Attributes) (int, error) {
		written, err := writer.Write(header, payload, attributes)
		if header.SSRC != info.SSRC {
			return written, err
		}
		i.mutex.Lock()
		stream.packets++
		stream.octets += uint32(len(payload))
		isFirst := stream.packets == 1
		i.mutex.Unlock()
		if isFirst {
			i.report(info.SSRC)
		}
		return written, err
	})
}

func (i *reporter) UnbindLocalStream(info *interceptor.StreamInfo) {
	i.mutex.Lock()
	delete(i.streams, info.SSRC)
	i.mutex.Unlock()
}

func (i *reporter) Close() error {
	i.once.Do(func() { close(i.stop) })
	return nil
}

func (i *reporter) run() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-i.stop:
			return
		case <-tick.C:
		}
		i.mutex.Lock()
		var due []uint32
		for ssrc, stream := range i.streams {
			if stream.packets > 0 {
				due = append(due, ssrc)
			}
		}
		i.mutex.Unlock()
		for _, ssrc := range due {
			i.report(ssrc)
		}
	}
}

func (i *reporter) report(ssrc uint32) {
	i.mutex.Lock()
	stream, writer := i.streams[ssrc], i.writer
	if stream == nil || writer == nil || i.off {
		i.mutex.Unlock()
		return
	}
	now := time.Now()
	report := &rtcp.SenderReport{
		SSRC: ssrc, NTPTime: i.clock.ntp(now), RTPTime: rtpTime(ssrc, i.clock.media(now), stream.clockRate),
		PacketCount: stream.packets, OctetCount: stream.octets,
	}
	i.mutex.Unlock()
	_, _ = writer.Write([]rtcp.Packet{report}, nil)
}
