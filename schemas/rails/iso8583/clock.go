package iso8583

import "time"

// TransmissionTime is field 7: MMDDhhmmss in UTC, of no year.
type TransmissionTime string

// TransmissionTimeOf is the field 7 of a message sent at t.
func TransmissionTimeOf(t time.Time) TransmissionTime {
	return TransmissionTime(t.UTC().Format("0102150405"))
}

// At is the moment, in the year that brings it nearest to reference: a message of December that is read in January is of last
// year, one of January that is read in December, by a clock that is behind, of the next.
func (t TransmissionTime) At(reference time.Time) (time.Time, error) {
	s := string(t)
	if len(s) != 10 || !digits(s) || !monthDay(s[:4]) || !clock(s[4:]) {
		return time.Time{}, &FormatError{Field: 7, Name: "transmission time", Expected: "MMDDhhmmss"}
	}
	var best time.Time
	for year := reference.UTC().Year() - 1; year <= reference.UTC().Year()+1; year++ {
		at := time.Date(year, time.Month(number(s[:2])), int(number(s[2:4])),
			int(number(s[4:6])), int(number(s[6:8])), int(number(s[8:])), 0, time.UTC)
		if at.Month() != time.Month(number(s[:2])) {
			continue // 29 February of a year that has none
		}
		if best.IsZero() || at.Sub(reference).Abs() < best.Sub(reference).Abs() {
			best = at
		}
	}
	if best.IsZero() {
		return best, &FormatError{Field: 7, Name: "transmission time", Expected: "a day that is in this year, the last or the next"}
	}
	return best, nil
}

// monthDay takes four digits; 29 February is a day of some year.
func monthDay(s string) bool {
	month, day := number(s[:2]), number(s[2:])
	if month < 1 || month > 12 || day < 1 {
		return false
	}
	const leap = 2000
	return day <= int64(time.Date(leap, time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC).Day())
}

// clock takes six digits; ISO 8583 knows no leap second.
func clock(s string) bool { return number(s[:2]) < 24 && number(s[2:4]) < 60 && number(s[4:]) < 60 }
