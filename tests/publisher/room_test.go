package main

import (
	"bytes"
	"encoding/json"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/livekit/protocol/auth"
	"github.com/livekit/protocol/logger"
	lksdk "github.com/livekit/server-sdk-go/v2"
	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"
)

// heard is what a subscriber got of one track.
type heard struct {
	clockRate uint32
	steps     map[uint32]int
	lastTime  uint32
	packets   int
	reports   []rtcp.SenderReport
	arrivals  []time.Time
}

// TestRoom sends one person with a wall clock that is an hour ahead into a real room and checks, as a subscriber: RTP time advances by exactly
// one unit, sender reports of picture and sound agree to 3 ms, and a key frame request is answered within 50 ms.
func TestRoom(t *testing.T) {
	server, loops := os.Getenv("LIVEKIT_SERVER"), os.Getenv("LOOPS")
	if server == "" || loops == "" {
		t.Skip("set LIVEKIT_SERVER to the program and LOOPS to the folder")
	}
	name := os.Getenv("LOOPS_NAME")
	if name == "" {
		name = "ada"
	}
	lksdk.SetLogger(logger.GetDiscardLogger())
	url := startServer(t, server)

	var eventMutex sync.Mutex
	var events []event
	say := func(e event) {
		eventMutex.Lock()
		defer eventMutex.Unlock()
		events = append(events, e)
	}
	clock := newMediaClock(time.Now(), 0, 0, time.Hour)
	sender, err := joinRoom(name, url, roomToken(t, name), clock, false, newLoopStore(loops), say)
	if err != nil {
		t.Fatal(err)
	}
	defer sender.leave()
	for _, kind := range []string{"microphone", "camera"} {
		if err := sender.publish(kind, trackOptions{}); err != nil {
			t.Fatal(err)
		}
	}

	var mutex sync.Mutex
	tracks := map[string]*heard{}
	callback := lksdk.NewRoomCallback()
	callback.OnTrackSubscribed = func(track *webrtc.TrackRemote, publication *lksdk.RemoteTrackPublication, person *lksdk.RemoteParticipant) {
		h := &heard{clockRate: track.Codec().ClockRate, steps: map[uint32]int{}}
		mutex.Lock()
		tracks[publication.Name()] = h
		mutex.Unlock()
		publication.OnRTCP(func(packet rtcp.Packet) {
			// A compound packet reaches the readers of all tracks that it is about.
			if report, ok := packet.(*rtcp.SenderReport); ok && report.SSRC == uint32(track.SSRC()) {
				mutex.Lock()
				h.reports = append(h.reports, *report)
				h.arrivals = append(h.arrivals, time.Now())
				mutex.Unlock()
			}
		})
		go func() {
			for {
				packet, _, err := track.ReadRTP()
				if err != nil {
					return
				}
				if len(packet.Payload) == 0 {
					continue
				}
				mutex.Lock()
				if h.packets > 0 && packet.Timestamp != h.lastTime {
					h.steps[packet.Timestamp-h.lastTime]++
				}
				h.packets++
				h.lastTime = packet.Timestamp
				mutex.Unlock()
			}
		}()
	}
	room, err := lksdk.ConnectToRoomWithToken(url, roomToken(t, "listener"), callback)
	if err != nil {
		t.Fatal(err)
	}
	defer room.Disconnect()
	time.Sleep(7 * time.Second)

	mutex.Lock()
	defer mutex.Unlock()
	for kind, unit := range map[string]uint32{"microphone": 960, "camera": 3000} {
		h := tracks[kind]
		if h == nil || h.packets < 100 {
			t.Fatalf("%s did not arrive", kind)
		}
		for step, count := range h.steps {
			if step != unit {
				t.Errorf("%s: %d steps of %d, not %d", kind, count, step, unit)
			}
		}
	}
	// At which instant of the sender's clock does a media time of one's own begin? Sound and picture must say the same.
	sound, picture := tracks["microphone"], tracks["camera"]
	if len(sound.reports) == 0 || len(picture.reports) == 0 {
		t.Fatal("no sender reports")
	}
	first := sound.reports[0]
	claimed := time.Unix(int64(first.NTPTime>>32)-secondsTo1970, 0)
	t.Logf("the server's sender report claims %v ahead of us; sound reports %d, picture reports %d",
		claimed.Sub(sound.arrivals[0]).Round(time.Second), len(sound.reports), len(picture.reports))
	// The server passes RTP times on, so each report can be read against the sender's own media time 0.
	begin := func(kind string, stream *published, report rtcp.SenderReport, rate float64) float64 {
		ssrc := uint32(stream.layers[0].packeted.track.SSRC())
		return float64(int64(report.NTPTime-sound.reports[0].NTPTime))/(1<<32) - float64(int32(report.RTPTime-rtpBase(ssrc)))/rate
	}
	for i := range min(len(sound.reports), len(picture.reports)) {
		apart := begin("microphone", sender.streams["microphone"], sound.reports[i], 48000) - begin("camera", sender.streams["camera"], picture.reports[i], 90000)
		t.Logf("report %d: sound and picture are %.3f ms apart", i, apart*1000)
		if math.Abs(apart) > 0.003 {
			t.Errorf("report %d: sound and picture are %.3f ms apart", i, apart*1000)
		}
	}
	eventMutex.Lock()
	defer eventMutex.Unlock()
	answers := 0
	for _, e := range events {
		if e.Event == "key_sent" {
			answers++
			if e.AfterMs > 50 {
				t.Errorf("key frame after %.1f ms", e.AfterMs)
			}
		}
	}
	text, _ := json.Marshal(events)
	t.Logf("%d key frames asked for and sent; %s", answers, text)
	if answers == 0 {
		t.Error("nobody asked for a key frame")
	}
}

func TestReportsOfPictureAndSoundAgree(t *testing.T) {
	clock := newMediaClock(time.Now(), 100, 0, -time.Hour)
	for _, after := range []time.Duration{0, time.Second / 3, 2*time.Hour + 7*time.Microsecond} {
		at := clock.epoch.Add(after)
		inMedia := func(ssrc, rate uint32) float64 {
			return float64(rtpTime(ssrc, clock.media(at), rate)-rtpBase(ssrc)) / float64(rate)
		}
		wrap := math.Abs(inMedia(7, 48000) - inMedia(9, 90000))
		if after < time.Hour && wrap > 0.0001 {
			t.Errorf("after %v: %v s apart", after, wrap)
		}
	}
	if step := rtpTime(5, pictureTime(100001), 90000) - rtpTime(5, pictureTime(100000), 90000); step != 3000 {
		t.Errorf("a picture is %d", step)
	}
}

func roomToken(t *testing.T, identity string) string {
	t.Helper()
	token, err := auth.NewAccessToken("devkey", strings.Repeat("secret", 6)).SetIdentity(identity).
		SetVideoGrant(&auth.VideoGrant{RoomJoin: true, Room: "room"}).ToJWT()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

func startServer(t *testing.T, program string) string {
	t.Helper()
	config := map[string]any{
		"port": freePort(t), "bind_addresses": []string{"127.0.0.1"}, "keys": map[string]string{"devkey": strings.Repeat("secret", 6)},
		"rtc": map[string]any{"udp_port": freePort(t), "tcp_port": 0, "use_external_ip": false, "node_ip": "127.0.0.1",
			"enable_loopback_candidate": true, "interfaces": map[string]any{"includes": []string{"lo"}}},
	}
	// JSON is YAML.
	text, _ := json.Marshal(config)
	path := filepath.Join(t.TempDir(), "livekit.yaml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	command := exec.Command(program, "--config", path)
	command.Stdout, command.Stderr = &log, &log
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	address := net.JoinHostPort("127.0.0.1", jsonNumber(config["port"]))
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if connection, err := net.Dial("tcp", address); err == nil {
			connection.Close()
			return "ws://" + address
		}
	}
	t.Fatal("livekit-server does not answer")
	return ""
}

func jsonNumber(value any) string {
	text, _ := json.Marshal(value)
	return string(text)
}
