// The prompts of the drafts case: eight whose answers copy from the prompt, and eight whose answers do not.

const LETTER = `Dear Ms. Hargreaves,

Thank you for your letter of 3 March about the delivery of the oak bookcase. Our warehouse in Leeds confirms that the bookcase left on 27 February with the carrier Northway, and that the carrier could not reach anyone at your address on 1 March. The bookcase is now stored at the depot in Sheffield, where it is insured and dry. We would like to deliver it again on Tuesday between nine and twelve o'clock. If this does not suit you, please call our service desk on 0114 496 0012 and ask for Mr. Pellow.

Yours sincerely,
Daniel Whitcombe`;

const REPORT = `The bridge over the river Tarn was inspected on 14 June by two engineers of the county. The eastern pier shows a crack of four millimetres below the waterline, which has not grown since the last inspection. The railings on the northern side are loose at three posts and have to be fixed before the winter. The drainage of the deck works. The bearings were greased in April and are in good condition. The engineers recommend that lorries of more than twenty tonnes use the motorway until the pier has been repaired.`;

const RECIPE = `Heat the oven to 200 degrees. Peel six large potatoes and cut them into slices of half a centimetre. Rub a wide dish with butter and a clove of garlic. Put the slices into the dish in three layers, with salt, pepper and a little nutmeg on each layer. Mix three hundred millilitres of cream with one hundred millilitres of milk and pour it over the potatoes. Cover the dish with grated cheese and bake it for fifty minutes, until the top is brown and a knife goes through easily.`;

const ORDERS = `Order 1041: Maria Lopez, 12 Rue Cler, Paris, two lamps, 84.50 euros, shipped.
Order 1042: John Okafor, 5 Hill Street, Dublin, one desk, 240.00 euros, waiting.
Order 1043: Ingrid Solberg, 77 Storgata, Oslo, four chairs, 316.00 euros, shipped.
Order 1044: Kenji Tanaka, 3 Sakura Lane, Kyoto, one mirror, 59.90 euros, returned.
Order 1045: Amelia Wright, 21 Park Road, Bristol, three shelves, 132.75 euros, waiting.`;

const CODE = `function totalPrice(items, taxRate) {
  let total = 0;
  for (const item of items) {
    const price = item.price * item.quantity;
    if (item.discount) {
      total += price - price * item.discount;
    } else {
      total += price;
    }
  }
  return total + total * taxRate;
}`;

const STAFF = `{"people": [{"name": "Alice Brown", "email": "alice.brown@example.com", "team": "design"}, {"name": "Samuel Reyes", "email": "samuel.reyes@example.com", "team": "support"}, {"name": "Nadia Haddad", "email": "nadia.haddad@example.com", "team": "finance"}, {"name": "Peter Novak", "email": "peter.novak@example.com", "team": "support"}]}`;

const fix = (what: string, text: string) => `${text}\n\n${what}`;

/** The answers repeat most of the prompt: edits of a text, and extraction as JSON. */
export const COPY_PROMPTS: readonly string[] = [
  fix('Write this letter again, with Thursday in place of Tuesday.', LETTER),
  fix('Write this report again and correct its spelling.', REPORT.replace('engineers', 'enginers')),
  fix('Write this recipe again, with carrots in place of potatoes.', RECIPE),
  fix('Write this code again, with the variable total renamed to sum.', CODE),
  fix('Write these orders as a JSON array of objects, one for each order.', ORDERS),
  fix('Copy the first three sentences of this report into a JSON array of strings.', REPORT),
  fix('Write this JSON again, with an indentation of two spaces.', STAFF),
  fix('Write each sentence of this recipe on a line of its own.', RECIPE),
];

/** The answers are in the model's own words. */
export const FREE_PROMPTS: readonly string[] = [
  'Write a short story about a lighthouse keeper who finds a letter in a bottle.',
  'Explain why the sky is blue to a child of ten.',
  'Write a poem about the first snow of the year.',
  'What should I think about before I adopt a dog?',
  'Describe a busy market in the morning with all five senses.',
  'Give me advice for my first job interview.',
  'Tell me about the history of the bicycle.',
  'Write a letter to a friend who has moved to another country.',
];
