package featurestore;

import java.time.DateTimeException;
import java.time.OffsetDateTime;
import java.time.format.DateTimeFormatter;
import java.time.format.DateTimeFormatterBuilder;
import java.time.format.ResolverStyle;
import java.time.temporal.ChronoField;
import java.time.temporal.TemporalAccessor;

/** Instants as messages write them, to microseconds since the epoch. */
final class Instants {
    /** 0001-01-01 and the last microsecond of 9999: what every engine and client can hold. */
    static final long FIRST = -62_135_596_800_000_000L;
    static final long LAST = 253_402_300_799_999_999L;

    private static final DateTimeFormatter ISO = new DateTimeFormatterBuilder()
            .parseCaseInsensitive()
            .append(DateTimeFormatter.ISO_LOCAL_DATE)
            .appendPattern("['T'][' ']")
            .append(DateTimeFormatter.ISO_LOCAL_TIME)
            .appendPattern("[XXX][XX][X]")
            .toFormatter()
            .withResolverStyle(ResolverStyle.STRICT);

    private Instants() {}

    /** @throws MalformedException that names the column, if the text is no instant with an offset */
    static long parseIso(String text, String column) throws MalformedException {
        TemporalAccessor parsed;
        try {
            parsed = ISO.parse(text);
        } catch (DateTimeException error) {
            throw new MalformedException("column '" + column + "': a text that is no ISO instant");
        }
        if (!parsed.isSupported(ChronoField.OFFSET_SECONDS)) {
            throw new MalformedException("column '" + column + "': a time without an offset");
        }
        OffsetDateTime time = OffsetDateTime.from(parsed);
        return scaled(time.toEpochSecond(), 1_000_000, time.getNano() / 1000, column);
    }

    /** @throws MalformedException that names the column, if the instant is outside the years 1 to 9999 */
    static long scaled(long number, long microseconds, long more, String column) throws MalformedException {
        if (number >= FIRST / microseconds && number <= LAST / microseconds) {
            return number * microseconds + more;
        }
        throw new MalformedException("column '" + column + "': an instant outside the years 1 to 9999");
    }
}
