package featurestore;

import java.util.Arrays;

/**
 * What is known of the rows of a tile, or of a block of tiles: a partial per measure, and the times that sessions
 * need.
 */
final class Cell {
    private static final long NEVER = Long.MIN_VALUE;

    final Partial[] partials;
    /** Per condition of a session: times of the first and last row that passed; latest is NEVER if none did. */
    private final long[] earliest;
    private final long[] latest;
    /** The greatest distance of a row to the one before it, of those in different tiles. */
    private final long[] widest;

    Cell(Spec spec) {
        partials = new Partial[spec.measures.length];
        for (int i = 0; i < partials.length; i++) {
            partials[i] = Partial.of(spec, i);
        }
        int sessions = spec.sessionPasses.length;
        earliest = new long[sessions];
        latest = new long[sessions];
        widest = new long[sessions];
        Arrays.fill(latest, NEVER);
    }

    boolean hasRows(int session) {
        return latest[session] != NEVER;
    }

    long earliest(int session) {
        return earliest[session];
    }

    long latest(int session) {
        return latest[session];
    }

    long widest(int session) {
        return widest[session];
    }

    /** Notes when a row happened that passed the condition of a session. */
    void see(int session, long at) {
        earliest[session] = hasRows(session) ? Math.min(earliest[session], at) : at;
        latest[session] = Math.max(latest[session], at);
    }

    /** Takes over the times of the piece before it of the same tile: the newest piece knows those of the tile. */
    void continueTimes(Cell before) {
        System.arraycopy(before.earliest, 0, earliest, 0, earliest.length);
        System.arraycopy(before.latest, 0, latest, 0, latest.length);
    }

    /** Takes in a tile that is later than all before it, or another piece of the last one. */
    void append(Cell later) {
        for (int i = 0; i < partials.length; i++) {
            partials[i].merge(later.partials[i]);
        }
        for (int i = 0; i < latest.length; i++) {
            if (!later.hasRows(i)) {
                continue;
            }
            if (hasRows(i)) {
                widest[i] = Math.max(widest[i], Math.max(later.widest[i], later.earliest[i] - latest[i]));
                earliest[i] = Math.min(earliest[i], later.earliest[i]);
            } else {
                earliest[i] = later.earliest[i];
                widest[i] = later.widest[i];
            }
            latest[i] = Math.max(latest[i], later.latest[i]);
        }
    }

    void write(ByteWriter out, long origin) {
        for (int i = 0; i < latest.length; i++) {
            out.flag(hasRows(i));
            if (hasRows(i)) {
                out.signed(earliest[i] - origin);
                out.unsigned(latest[i] - earliest[i]);
                out.unsigned(widest[i]);
            }
        }
        for (Partial partial : partials) {
            partial.write(out, origin);
        }
    }

    void read(ByteReader in, long origin) {
        for (int i = 0; i < latest.length; i++) {
            boolean known = in.flag();
            earliest[i] = known ? in.signed() + origin : 0;
            latest[i] = known ? in.unsigned() + earliest[i] : NEVER;
            widest[i] = known ? in.unsigned() : 0;
        }
        for (Partial partial : partials) {
            partial.read(in, origin);
        }
    }
}
