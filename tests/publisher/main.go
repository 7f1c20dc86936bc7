// Command publisher sends simulated people into a LiveKit room, for the tests of Roomcast. It shares no code with the product.
//
// It reads commands as JSON lines from standard input and writes events as JSON lines to standard output; see command and event.
// What the people send was encoded before, as loops that carry a colour, a tone, a flash, a beep and a picture counter.
// When standard input ends, everybody leaves.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/livekit/protocol/logger"
	lksdk "github.com/livekit/server-sdk-go/v2"
)

// command is one line of input. Every command is answered by one event "done" or "failed" with the same Ref.
type command struct {
	Ref int `json:"ref"`
	// Do is join, leave, publish, unpublish, switch (unpublish and publish), mute, unmute or ntp_step.
	Do string `json:"do"`
	// Who is the person's name, and by default the name of the loops.
	Who string `json:"who"`
	// What is the kind of track: microphone, camera, screen or screen_audio.
	What string `json:"what"`

	// For join.
	URL         string        `json:"url"`
	Token       string        `json:"token"`
	PhaseMs     float64       `json:"phase_ms"`
	PPM         float64       `json:"ppm"`
	NTPPPM      float64       `json:"ntp_ppm"`
	NTPOffsetMs float64       `json:"ntp_offset_ms"`
	NoReports   bool          `json:"no_reports"`
	Microphone  *trackOptions `json:"microphone"`
	Camera      *trackOptions `json:"camera"`
	// For publish and switch.
	Track trackOptions `json:"track"`
	// For ntp_step.
	StepMs float64 `json:"step_ms"`
}

// event is one line of output.
type event struct {
	// Event is ready, done, failed, sending, key_asked, key_sent, reconnecting, reconnected or disconnected.
	Event string `json:"event"`
	Ref   int    `json:"ref,omitempty"`
	Who   string `json:"who,omitempty"`
	What  string `json:"what,omitempty"`
	Why   string `json:"why,omitempty"`
	// MediaMs is the person's media time: of the first unit sent (sending, unmute), or of the last one (mute).
	MediaMs int64 `json:"media_ms"`
	Height  int   `json:"height,omitempty"`
	// AfterMs is the time between asking for a key frame and sending it.
	AfterMs float64 `json:"after_ms,omitempty"`
	// AtMs is the time of the event since the program began.
	AtMs float64 `json:"at_ms"`
}

func main() {
	folder := flag.String("loops", "", "folder of the encoded loops")
	isVerbose := flag.Bool("verbose", false, "let the WebRTC stack log to standard error")
	flag.Parse()
	if !*isVerbose {
		lksdk.SetLogger(logger.GetDiscardLogger())
	}
	if *folder == "" {
		fmt.Fprintln(os.Stderr, "publisher: name the folder of the loops by -loops")
		os.Exit(2)
	}
	begin := time.Now()
	var outMutex sync.Mutex
	out := json.NewEncoder(os.Stdout)
	say := func(e event) {
		outMutex.Lock()
		defer outMutex.Unlock()
		e.AtMs = float64(time.Since(begin).Microseconds()) / 1000
		_ = out.Encode(e)
	}
	crowd := &crowd{begin: begin, store: newLoopStore(*folder), say: say, people: map[string]*member{}}
	say(event{Event: "ready"})

	input := bufio.NewScanner(os.Stdin)
	input.Buffer(make([]byte, 64*1024), 1<<20)
	var running sync.WaitGroup
	for input.Scan() {
		var c command
		if err := json.Unmarshal(input.Bytes(), &c); err != nil {
			say(event{Event: "failed", Why: err.Error()})
			continue
		}
		running.Add(1)
		// Commands for different people run side by side, those for one person in turn.
		turn := crowd.turn(c.Who)
		go func() {
			defer running.Done()
			media, err := turn.run(func() (time.Duration, error) { return crowd.run(c) })
			if err != nil {
				say(event{Event: "failed", Ref: c.Ref, Who: c.Who, What: c.What, Why: err.Error()})
				return
			}
			say(event{Event: "done", Ref: c.Ref, Who: c.Who, What: c.What, MediaMs: media.Milliseconds()})
		}()
	}
	running.Wait()
	crowd.leaveAll()
}

// crowd is all people of this program.
type crowd struct {
	begin  time.Time
	store  *loopStore
	say    func(event)
	mutex  sync.Mutex
	people map[string]*member
}

// member keeps the order of one person's commands.
type member struct {
	queue  sync.Mutex
	last   chan struct{}
	person *person
	// clock outlives leaving, so that a camera does not jump when its person comes back.
	clock *mediaClock
}

// ticket is one command's place in the order.
type ticket struct{ before, done chan struct{} }

func (c *crowd) member(who string) *member {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	m, known := c.people[who]
	if !known {
		m = &member{}
		c.people[who] = m
	}
	return m
}

func (c *crowd) turn(who string) ticket {
	m := c.member(who)
	m.queue.Lock()
	defer m.queue.Unlock()
	t := ticket{before: m.last, done: make(chan struct{})}
	m.last = t.done
	return t
}

func (t ticket) run(work func() (time.Duration, error)) (time.Duration, error) {
	if t.before != nil {
		<-t.before
	}
	defer close(t.done)
	return work()
}

func (c *crowd) run(cmd command) (time.Duration, error) {
	m := c.member(cmd.Who)
	if cmd.Do == "join" {
		return 0, c.join(m, cmd)
	}
	if m.person == nil {
		return 0, errors.New("has not joined")
	}
	switch cmd.Do {
	case "leave":
		m.person.leave()
		m.person = nil
		return 0, nil
	case "publish":
		return 0, m.person.publish(cmd.What, cmd.Track)
	case "unpublish":
		return 0, m.person.unpublish(cmd.What)
	case "switch":
		if err := m.person.unpublish(cmd.What); err != nil {
			return 0, err
		}
		return 0, m.person.publish(cmd.What, cmd.Track)
	case "mute":
		return m.person.mute(cmd.What)
	case "unmute":
		return m.person.unmute(cmd.What)
	case "ntp_step":
		m.clock.ntpOffset.Add(int64(cmd.StepMs * 1e6))
		return m.clock.media(time.Now()), nil
	default:
		return 0, fmt.Errorf("%q is no command", cmd.Do)
	}
}

func (c *crowd) join(m *member, cmd command) error {
	if m.person != nil {
		return errors.New("has joined already")
	}
	if m.clock == nil {
		phase := time.Duration(cmd.PhaseMs * float64(time.Millisecond))
		m.clock = newMediaClock(c.begin.Add(phase), cmd.PPM, cmd.NTPPPM, time.Duration(cmd.NTPOffsetMs*float64(time.Millisecond)))
	}
	joined, err := joinRoom(cmd.Who, cmd.URL, cmd.Token, m.clock, cmd.NoReports, c.store, c.say)
	if err != nil {
		return err
	}
	m.person = joined
	if cmd.Microphone != nil {
		if err := joined.publish("microphone", *cmd.Microphone); err != nil {
			return err
		}
	}
	if cmd.Camera != nil {
		return joined.publish("camera", *cmd.Camera)
	}
	return nil
}

func (c *crowd) leaveAll() {
	var everybody sync.WaitGroup
	for _, m := range c.people {
		if m.person != nil {
			everybody.Add(1)
			go func() {
				defer everybody.Done()
				m.person.leave()
			}()
		}
	}
	everybody.Wait()
}
