package featurestore;

import java.util.Arrays;

/**
 * An event of an entity whose source has event ids.
 *
 * @param id null if the event has none
 * @param at microseconds
 * @param counts whether it is no copy
 * @param inputs what it adds to its tile; null once nothing can take its place any more
 */
record Occurrence(Text id, long at, boolean counts, Inputs inputs) {
    /** What the kernel is given of an event: its place among simultaneous ones, its conditions and its values. */
    record Inputs(byte[] canonical, boolean[] passes, Object[] values) {}

    Occurrence asCopy() {
        return new Occurrence(id, at, false, inputs);
    }

    /** The same, of which only the time is left. */
    Occurrence settled() {
        return new Occurrence(id, at, counts, null);
    }

    boolean isBefore(Occurrence other) {
        return at < other.at || at == other.at && order(other) < 0;
    }

    boolean isLike(Occurrence other) {
        return at == other.at && order(other) == 0;
    }

    private int order(Occurrence other) {
        return inputs == null || other.inputs == null
                ? 0
                : Arrays.compareUnsigned(inputs.canonical, other.inputs.canonical);
    }

    void write(ByteWriter out, ValueType[] types) {
        out.flag(id != null);
        if (id != null) {
            out.value(ValueType.STRING, id);
        }
        out.signed(at);
        out.flag(counts);
        out.flag(inputs != null);
        if (inputs == null) {
            return;
        }
        out.unsigned(inputs.canonical.length);
        out.raw(inputs.canonical, 0, inputs.canonical.length);
        for (boolean pass : inputs.passes) {
            out.flag(pass);
        }
        for (int i = 0; i < types.length; i++) {
            out.flag(inputs.values[i] != null);
            if (inputs.values[i] != null) {
                out.value(types[i], inputs.values[i]);
            }
        }
    }

    static Occurrence read(ByteReader in, ValueType[] types, int passCount) {
        Text id = in.flag() ? (Text) in.value(ValueType.STRING) : null;
        long at = in.signed();
        boolean counts = in.flag();
        if (!in.flag()) {
            return new Occurrence(id, at, counts, null);
        }
        byte[] canonical = in.raw((int) in.unsigned());
        boolean[] passes = new boolean[passCount];
        for (int i = 0; i < passCount; i++) {
            passes[i] = in.flag();
        }
        Object[] values = new Object[types.length];
        for (int i = 0; i < types.length; i++) {
            values[i] = in.flag() ? in.value(types[i]) : null;
        }
        return new Occurrence(id, at, counts, new Inputs(canonical, passes, values));
    }
}
