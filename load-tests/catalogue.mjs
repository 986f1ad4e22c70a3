// The catalogue for load tests: 1,000 products in 10 categories, the same on every machine.
//
// A seeded generator builds names and descriptions from a small vocabulary. So items have realistic sizes (a description
// of 300 to 1,200 characters), and compress no better than real text.

const PRODUCTS_PER_CATEGORY = 100;

/** More than an order of these tests ever takes, so that a plain order is always FULFILLED. */
const PLENTY = 1_000_000;

/** One product in twenty is scarce: enough to spread their orders over many items. */
const SCARCE_EVERY = 20;

/** The highest stock of a scarce product. An order for more than this is always REJECTED. */
export const SCARCE_STOCK = 4;

const CATEGORIES = {
  kitchen: {
    things: [
      'saucepan', 'kettle', 'bread knife', 'mixing bowl', 'chopping board', 'casserole', 'whisk',
      'pepper mill', 'teapot', 'baking tray',
    ],
    materials: ['brushed steel', 'cast iron', 'oiled beech', 'stoneware', 'copper'],
    uses: [
      'a slow Sunday stew', 'a quick weekday supper', 'baking with children', 'a kitchen with little room',
    ],
  },
  garden: {
    things: [
      'hand trowel', 'watering can', 'seed tray', 'pruning saw', 'plant pot', 'garden fork', 'cold frame',
      'trellis', 'hose reel', 'bird bath',
    ],
    materials: ['galvanised steel', 'terracotta', 'larch', 'recycled plastic', 'ash'],
    uses: ['a balcony of three pots', 'heavy clay soil', 'raised beds', 'a garden that is left alone all week'],
  },
  office: {
    things: [
      'desk lamp', 'notebook', 'fountain pen', 'monitor stand', 'letter tray', 'desk pad', 'stapler',
      'filing box', 'footrest', 'wall calendar',
    ],
    materials: ['powder-coated steel', 'cork', 'recycled paper', 'walnut veneer', 'wool felt'],
    uses: ['a shared desk', 'long calls', 'keeping paper in one place', 'a corner of the living room'],
  },
  outdoor: {
    things: [
      'rucksack', 'sleeping mat', 'camp stove', 'head torch', 'flask', 'dry bag', 'hammock', 'walking pole',
      'map case', 'folding chair',
    ],
    materials: ['ripstop nylon', 'anodised aluminium', 'waxed cotton', 'stainless steel', 'recycled polyester'],
    uses: ['two nights in the hills', 'a wet week by the sea', 'a bicycle tour', 'the first camp of a family'],
  },
  toys: {
    things: [
      'building blocks', 'marble run', 'jigsaw', 'spinning top', 'kite', 'puppet', 'train set', 'memory game',
      'pull-along duck', 'doll house',
    ],
    materials: ['painted beech', 'organic cotton', 'thick card', 'birch plywood', 'wool'],
    uses: ['small hands', 'a rainy afternoon', 'children who share', 'grandparents who keep a box of toys'],
  },
  lighting: {
    things: [
      'pendant lamp', 'reading lamp', 'night light', 'lantern', 'wall light', 'floor lamp', 'string lights',
      'clip lamp', 'candle holder', 'dimmer',
    ],
    materials: ['opal glass', 'brass', 'folded steel', 'linen', 'rattan'],
    uses: ['the table where everyone sits', 'a dark hallway', 'reading in bed', 'summer evenings'],
  },
  bath: {
    things: [
      'bath towel', 'soap dish', 'bath mat', 'laundry basket', 'shower shelf', 'robe', 'mirror',
      'toothbrush mug', 'nail brush', 'hot-water bottle',
    ],
    materials: ['organic cotton', 'bamboo', 'stoneware', 'seagrass', 'stainless steel'],
    uses: ['a bathroom without a window', 'a house of five', 'guests', 'cold mornings'],
  },
  music: {
    things: [
      'music stand', 'metronome', 'tuner', 'guitar strap', 'drumsticks', 'ukulele', 'recorder', 'tambourine',
      'instrument cable', 'piano stool',
    ],
    materials: ['maple', 'rosewood', 'spring steel', 'woven cotton', 'leather'],
    uses: ['a first lesson', 'rehearsals in a small room', 'a band that travels', 'quiet practice at night'],
  },
  cycling: {
    things: [
      'bell', 'pannier', 'bottle cage', 'floor pump', 'saddle', 'rear light', 'mudguard', 'multi-tool',
      'chain lock', 'helmet',
    ],
    materials: ['forged aluminium', 'hardened steel', 'waxed canvas', 'cork', 'carbon fibre'],
    uses: ['the ride to work', 'gravel roads', 'carrying the shopping', 'winter miles'],
  },
  pets: {
    things: [
      'dog lead', 'cat tree', 'feeding bowl', 'travel crate', 'scratching post', 'dog coat', 'chew toy',
      'bird feeder', 'grooming brush', 'pet bed',
    ],
    materials: ['climbing rope', 'stoneware', 'natural rubber', 'sisal', 'quilted cotton'],
    uses: ['a nervous puppy', 'an old cat', 'long walks', 'a flat on the fourth floor'],
  },
};

const FINISHES = ['Small', 'Large', 'Classic', 'Folding', 'Everyday', 'Heavy', 'Light', 'Plain', 'Striped', 'Workshop'];

const SENTENCES = [
  ({ thing, material }) => `This ${thing} is made of ${material} and finished by hand.`,
  ({ use }) => `We designed it for ${use}, and tried it there for a year before the first one was sold.`,
  ({ material }) => `The ${material} comes from a supplier that we visit every spring.`,
  ({ grams, thing }) => `At ${grams} g the ${thing} is easy to carry and sits firmly where you put it.`,
  ({ years }) => `It carries a guarantee of ${years} years, and every part that wears can be replaced.`,
  ({ width, height }) => `Its size is ${width} by ${height} mm, so it fits a standard shelf.`,
  ({ use, thing }) => `Customers tell us that the ${thing} is at its best for ${use}.`,
  () => 'Wipe it with a damp cloth and let it dry; nothing stronger is needed.',
  ({ material }) => `Over time the ${material} takes on a colour of its own.`,
  ({ town }) => `Each piece is packed in a plain box in our workshop in ${town}.`,
  ({ thing }) => `If this ${thing} is not what you hoped for, send it back within sixty days.`,
  ({ use, other }) => `It goes well with our ${other}, above all for ${use}.`,
  ({ years, town }) => `The same family in ${town} has made it for ${years * 4} years.`,
  ({ grams }) => `No more than ${Math.round(grams / 40)} g of packaging is used, all of it paper.`,
];

const TOWNS = ['Sheffield', 'Ghent', 'Porto', 'Aarhus', 'Graz', 'Brno'];

/** A small seeded generator (mulberry32): numbers in 0..1, the same sequence for the same seed. */
export function seededRandom(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

export const categories = Object.keys(CATEGORIES);

/** All products, each with the `id` of its route and the `body` of `PUT /products/{id}`. */
export const products = generate();

export const plentiful = products.filter(({ body }) => body.stock === PLENTY);
export const scarce = products.filter(({ body }) => body.stock <= SCARCE_STOCK);

function generate() {
  const random = seededRandom(2);
  const between = (low, high) => low + Math.floor(random() * (high - low + 1));
  const pick = (list) => list[between(0, list.length - 1)];

  return Object.entries(CATEGORIES).flatMap(([category, { things, materials, uses }]) =>
    Array.from({ length: PRODUCTS_PER_CATEGORY }, (_, index) => {
      const thing = things[index % things.length];
      const material = pick(materials);
      const details = {
        thing, material, use: pick(uses), town: pick(TOWNS), other: pick(things.filter((other) => other !== thing)),
        grams: between(80, 2400), years: between(2, 15), width: between(60, 420), height: between(40, 600),
      };
      return {
        id: `${category}-${String(index + 1).padStart(3, '0')}`,
        body: {
          name: `${FINISHES[Math.floor(index / things.length)]} ${thing} in ${material}`,
          category,
          price_cents: between(4, 240) * 50 - 5,
          stock: index % SCARCE_EVERY === 0 ? between(0, SCARCE_STOCK) : PLENTY,
          description: describe(between(300, 1000), random, details),
        },
      };
    }),
  );
}

/** Sentences in a random order, each once, until the text has `length` characters or all are used. */
function describe(length, random, details) {
  const order = SENTENCES.map((sentence) => [random(), sentence]).sort(([a], [b]) => a - b);
  let text = '';
  for (const [, sentence] of order) {
    if (text.length >= length) break;
    text += `${text && ' '}${sentence(details)}`;
  }
  return text;
}
