package featurestore;

import java.util.Arrays;
import java.util.function.LongSupplier;

/**
 * What remains of tiles that no window that ends can hold any more: for all time, and of the session they ended with.
 */
final class Base {
    private static final long NEVER = Long.MIN_VALUE;

    private final Spec spec;
    /** Whether a feature over all time has seen a row that is in here. */
    private boolean seen;
    /** Per feature; null for those with windows that end. */
    private final FoldedPartial[] partials;
    /** Per feature: time of the last row of the session; NEVER without one. */
    private final long[] latest;

    Base(Spec spec, KernelState state, LongSupplier slots) {
        this.spec = spec;
        int features = spec.aggregates.length;
        partials = new FoldedPartial[features];
        latest = new long[features];
        Arrays.fill(latest, NEVER);
        for (int i = 0; i < features; i++) {
            if (isKept(i)) {
                partials[i] = new FoldedPartial(spec, spec.aggregates[i].measure, state, slots);
            }
        }
    }

    boolean isSeen() {
        return seen;
    }

    boolean isEmpty() {
        return !seen && Arrays.stream(latest).allMatch(time -> time == NEVER);
    }

    FoldedPartial partial(int feature) {
        return partials[feature];
    }

    boolean hasSession(int feature) {
        return latest[feature] != NEVER;
    }

    long latest(int feature) {
        return latest[feature];
    }

    /** Takes in a tile that is later than all before it, or of any time if the spec has no sessions. */
    void fold(Cell tile, long mask) throws Exception {
        for (int i = 0; i < partials.length; i++) {
            Spec.Aggregate aggregate = spec.aggregates[i];
            if (aggregate.session >= 0) {
                foldSession(i, aggregate, tile);
            } else if (partials[i] != null) {
                partials[i].merge(tile.partials[aggregate.measure]);
            }
        }
        seen |= spec.hasAllTime && (mask & 1L << spec.windows.length - 1) != 0;
    }

    /** Forgets sessions that no event from this instant on can belong to. */
    void forgetSessions(long earliestToCome) throws Exception {
        for (int i = 0; i < latest.length; i++) {
            if (latest[i] != NEVER && earliestToCome - latest[i] > spec.aggregates[i].window) {
                latest[i] = NEVER;
                partials[i].clear();
            }
        }
    }

    void write(ByteWriter out) throws Exception {
        out.flag(isEmpty());
        if (isEmpty()) {
            return;
        }
        out.flag(seen);
        for (int i = 0; i < partials.length; i++) {
            if (spec.aggregates[i].session >= 0) {
                out.flag(latest[i] != NEVER);
                if (latest[i] == NEVER) {
                    continue;
                }
                out.signed(latest[i]);
            }
            if (partials[i] != null) {
                partials[i].write(out);
            }
        }
    }

    /** Becomes what was written; `layered` unless in the former format. */
    void read(ByteReader in, boolean layered) {
        if (in.flag()) {
            return;
        }
        seen = in.flag();
        for (int i = 0; i < partials.length; i++) {
            if (spec.aggregates[i].session >= 0) {
                if (!in.flag()) {
                    continue;
                }
                latest[i] = in.signed();
            }
            if (partials[i] != null) {
                partials[i].read(in, layered);
            }
        }
    }

    private boolean isKept(int feature) {
        return spec.aggregates[feature].session >= 0 || spec.aggregates[feature].window == Spec.ALL_TIME;
    }

    private void foldSession(int feature, Spec.Aggregate aggregate, Cell tile) throws Exception {
        if (!tile.hasRows(aggregate.session)) {
            return;
        }
        if (latest[feature] != NEVER && tile.earliest(aggregate.session) - latest[feature] > aggregate.window) {
            partials[feature].clear();
        }
        partials[feature].merge(tile.partials[aggregate.measure]);
        latest[feature] = tile.latest(aggregate.session);
    }
}
