package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

const (
	pictureRate  = 30
	packetMillis = 20
)

// loopStore reads loop files once and shares them between people.
type loopStore struct {
	folder string
	mutex  sync.Mutex
	known  map[string][][]byte
}

func newLoopStore(folder string) *loopStore {
	return &loopStore{folder: folder, known: map[string][][]byte{}}
}

func (s *loopStore) load(file string, parse func([]byte) ([][]byte, error)) ([][]byte, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if units, ok := s.known[file]; ok {
		return units, nil
	}
	data, err := os.ReadFile(filepath.Join(s.folder, file))
	if err != nil {
		return nil, err
	}
	units, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(units) == 0 {
		return nil, fmt.Errorf("%s: nothing in it", file)
	}
	s.known[file] = units
	return units, nil
}

// sound gives the Opus packets of a loop: repeated little-endian 16 bit length and packet.
func (s *loopStore) sound(name string) ([][]byte, error) {
	return s.load(name+".opuspackets", func(data []byte) ([][]byte, error) {
		var packets [][]byte
		for len(data) > 0 {
			if len(data) < 2 {
				return nil, errors.New("cut short")
			}
			length := int(binary.LittleEndian.Uint16(data))
			if len(data) < 2+length {
				return nil, errors.New("cut short")
			}
			packets = append(packets, data[2:2+length])
			data = data[2+length:]
		}
		return packets, nil
	})
}

// pictures is one loop of one size: the chain that is sent, and where there is one a twin of it in which every picture stands alone.
type pictures struct {
	chain [][]byte
	twin  [][]byte
	codec string
}

func (s *loopStore) pictures(name string, height int, codec string) (*pictures, error) {
	p := &pictures{codec: codec}
	var err error
	switch codec {
	case "vp8":
		if p.chain, err = s.load(fmt.Sprintf("%s_%d.ivf", name, height), parseIVF); err != nil {
			return nil, err
		}
		p.twin, err = s.load(fmt.Sprintf("%s_%d_key.ivf", name, height), parseIVF)
		if errors.Is(err, os.ErrNotExist) {
			err = nil
		}
	case "vp9":
		p.chain, err = s.load(fmt.Sprintf("%s_%d_vp9.ivf", name, height), parseIVF)
	case "h264":
		p.chain, err = s.load(fmt.Sprintf("%s_%d.h264", name, height), parseAnnexB)
	default:
		err = fmt.Errorf("codec %q is not known", codec)
	}
	if err == nil && p.twin != nil && len(p.twin) != len(p.chain) {
		err = fmt.Errorf("%s at %d: the chain has %d pictures, its twin %d", name, height, len(p.chain), len(p.twin))
	}
	return p, err
}

// at gives picture n of the endless repetition, standing alone if asked for, and says whether it does.
func (p *pictures) at(n int64, alone bool) ([]byte, bool) {
	i := int(n % int64(len(p.chain)))
	if isKey(p.codec, p.chain[i]) {
		return p.chain[i], true
	}
	if alone && p.twin != nil {
		return p.twin[i], true
	}
	return p.chain[i], false
}

func isKey(codec string, picture []byte) bool {
	if len(picture) == 0 {
		return false
	}
	switch codec {
	case "vp8": // RFC 6386, section 9.1: the lowest bit is 0 in a key frame
		return picture[0]&1 == 0
	case "vp9": // frame marker 2, profile 0, show_existing 0, frame_type 0
		return picture[0]>>6 == 2 && picture[0]&0x0c == 0
	default:
		for i := 0; i+4 < len(picture); i++ {
			if picture[i] == 0 && picture[i+1] == 0 && picture[i+2] == 1 && picture[i+3]&0x1f == 5 {
				return true
			}
		}
		return false
	}
}

func parseIVF(data []byte) ([][]byte, error) {
	if len(data) < 32 || string(data[:4]) != "DKIF" {
		return nil, errors.New("not an IVF file")
	}
	data = data[binary.LittleEndian.Uint16(data[6:]):]
	var units [][]byte
	for len(data) > 0 {
		if len(data) < 12 {
			return nil, errors.New("cut short")
		}
		length := int(binary.LittleEndian.Uint32(data))
		if len(data) < 12+length {
			return nil, errors.New("cut short")
		}
		units = append(units, data[12:12+length])
		data = data[12+length:]
	}
	return units, nil
}

// parseAnnexB cuts an H.264 byte stream with access unit delimiters into pictures; the delimiters themselves are not sent.
func parseAnnexB(data []byte) ([][]byte, error) {
	var starts []int
	for i := 0; i+3 < len(data); i++ {
		if data[i] == 0 && data[i+1] == 0 && data[i+2] == 1 && data[i+3]&0x1f == 9 {
			starts = append(starts, i)
		}
	}
	var units [][]byte
	for i, start := range starts {
		end := len(data)
		if i+1 < len(starts) {
			end = starts[i+1]
		}
		unit := data[start+5 : end]
		for len(unit) > 0 && unit[len(unit)-1] == 0 {
			unit = unit[:len(unit)-1]
		}
		units = append(units, unit)
	}
	return units, nil
}
