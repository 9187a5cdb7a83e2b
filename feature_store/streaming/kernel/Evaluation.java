package featurestore;

import java.util.Arrays;
import java.util.List;

/** The values of all features of an entity at one step, computed from its tiles, the newest first. */
final class Evaluation {
    private static final long UNDECIDED = Long.MIN_VALUE;
    private static final long OVER = Long.MAX_VALUE;

    private final Spec spec;
    private final Entity entity;
    private final long step;
    private final Cell cell;
    private final Partial[] values;
    /**
     * Per feature over a session: time of its first row so far; UNDECIDED before there is one, OVER after its
     * beginning.
     */
    private final long[] begins;
    /** Which features look at the tiles of the chunk at hand one by one. */
    private final boolean[] walks;

    private Evaluation(Spec spec, Entity entity, long step) {
        this.spec = spec;
        this.entity = entity;
        this.step = step;
        cell = new Cell(spec);
        int features = spec.aggregates.length;
        values = new Partial[features];
        begins = new long[features];
        walks = new boolean[features];
        Arrays.fill(begins, UNDECIDED);
        for (int i = 0; i < features; i++) {
            values[i] = Partial.of(spec, spec.aggregates[i].measure);
        }
    }

    static Object[] at(Spec spec, Entity entity, long step) throws Exception {
        return new Evaluation(spec, entity, step).run();
    }

    private Object[] run() throws Exception {
        List<Chunk> chunks = entity.tiles().chunks();
        for (int i = chunks.size() - 1; i >= 0; i--) {
            Chunk chunk = chunks.get(i);
            if (chunk.first <= step && takeWhole(chunk)) {
                walk(chunk.tiles());
            }
        }
        for (int i = 0; i < values.length; i++) {
            takeBase(i);
        }
        Object[] results = new Object[values.length];
        for (int i = 0; i < results.length; i++) {
            results[i] = values[i].result();
        }
        return results;
    }

    /** Serves features by the chunk's summary where that is possible; tells whether others must look at its tiles. */
    private boolean takeWhole(Chunk chunk) throws Exception {
        boolean walking = false;
        for (int i = 0; i < values.length; i++) {
            walks[i] = false;
            Spec.Aggregate aggregate = spec.aggregates[i];
            if (!reaches(i, chunk.last) || (chunk.mask & 1L << aggregate.windowIndex) == 0) {
                continue;
            }
            if (chunk.isTail() || chunk.last > step || !holdsWhole(aggregate, chunk)) {
                walks[i] = true;
                walking = true;
            } else {
                take(i, chunk.summary());
            }
        }
        return walking;
    }

    private boolean holdsWhole(Spec.Aggregate aggregate, Chunk chunk) throws Exception {
        if (aggregate.session >= 0) {
            return chunk.summary().widest(aggregate.session) <= aggregate.window;
        }
        return aggregate.window == Spec.ALL_TIME || chunk.first > step - aggregate.window / spec.slide;
    }

    private void walk(Block tiles) {
        for (int tile = tiles.indexAfter(step) - 1; tile >= 0; tile--) {
            boolean wanted = false;
            boolean loaded = false;
            for (int i = 0; i < values.length; i++) {
                walks[i] &= reaches(i, tiles.step(tile));
                wanted |= walks[i];
                if (walks[i] && (tiles.mask(tile) & 1L << spec.aggregates[i].windowIndex) != 0) {
                    if (!loaded) {
                        tiles.load(tile, cell, spec);
                        loaded = true;
                    }
                    take(i, cell);
                }
            }
            if (!wanted) {
                return;
            }
        }
    }

    /** Whether a feature may want a tile, or one before it. */
    private boolean reaches(int feature, long tile) {
        Spec.Aggregate aggregate = spec.aggregates[feature];
        if (aggregate.session >= 0) {
            return begins[feature] != OVER;
        }
        return aggregate.window == Spec.ALL_TIME || tile > step - aggregate.window / spec.slide;
    }

    private void take(int feature, Cell rows) {
        Spec.Aggregate aggregate = spec.aggregates[feature];
        int session = aggregate.session;
        if (session < 0) {
            values[feature].merge(rows.partials[aggregate.measure]);
        } else if (rows.hasRows(session)) {
            if (continues(feature, rows.latest(session))) {
                values[feature].merge(rows.partials[aggregate.measure]);
                long begin = rows.earliest(session);
                begins[feature] = begins[feature] == UNDECIDED ? begin : Math.min(begins[feature], begin);
            } else {
                begins[feature] = OVER;
            }
        }
    }

    private void takeBase(int feature) throws Exception {
        Base base = entity.base();
        if (spec.aggregates[feature].session < 0) {
            if (base.partial(feature) != null) {
                base.partial(feature).mergeInto(values[feature]);
            }
        } else if (begins[feature] != OVER && base.hasSession(feature) && continues(feature, base.latest(feature))) {
            base.partial(feature).mergeInto(values[feature]);
        }
    }

    /** Whether rows that end at an instant belong to the session: they are near its first row, or it would be over. */
    private boolean continues(int feature, long latest) {
        long reference = begins[feature] == UNDECIDED ? step * spec.slide : begins[feature];
        return reference - latest <= spec.aggregates[feature].window;
    }
}
