"""Words that people say for the things of the 80 classes, written by hand; they overrule WordNet.

One line per entry: words, a colon, the classes that answer. A class may carry a weight below 1 where it
answers only sometimes. No class: the word names something that the backbone has not seen.
"""

#: classes in these groups may be named by `@group`.
GROUPS = """
vehicle: bicycle, car, motorcycle, airplane, bus, train, truck, boat
road: bicycle, car, motorcycle, bus, truck
motor: car, motorcycle, bus, truck
animal: bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe
mammal: cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe
farm: horse, sheep, cow
pet: cat, dog
fruit: banana, apple, orange
vegetable: broccoli, carrot
meal: sandwich, hot dog, pizza
sweet: donut, cake
bag: backpack, handbag, suitcase
board: skateboard, surfboard, snowboard
sport: frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, surfboard,
tennis racket
seat: chair, couch, bench
furniture: chair, couch, bed, dining table, bench
cutlery: fork, knife, spoon
vessel: bottle, wine glass, cup, bowl, vase
crockery: cup, bowl, wine glass
electronics: tv, laptop, mouse, remote, keyboard, cell phone
appliance: microwave, oven, toaster, refrigerator
sign: stop sign, traffic light, parking meter
"""

PEOPLE = """
person people human human-being man men woman women guy guys gal dude bloke fellow fella chap lad lass lady
ladies
gentleman gentlemen boy boys girl girls kid kids child children toddler baby babies infant teen teenager
adult
grown-up senior elder youngster youth individual someone somebody anybody anyone everybody folk folks
pedestrian pedestrians passer-by passerby passersby walker stroller-pusher jogger runner sprinter hiker
climber
cyclist bicyclist biker bike-rider motorcyclist rider driver chauffeur passenger commuter traveller
traveler tourist visitor
shopper customer buyer client guest worker employee staff colleague workman builder engineer mechanic
electrician
plumber carpenter farmer gardener fisherman hunter soldier policeman policewoman policemen cop cops officer
police-officer
guard security-guard bouncer firefighter fireman paramedic doctor nurse surgeon patient dentist vet teacher
pupil student
schoolboy schoolgirl professor scientist astronaut spaceman pilot stewardess steward captain sailor waiter
waitress chef cook
baker butcher barber hairdresser cashier clerk salesman saleswoman businessman businesswoman boss manager
secretary lawyer
judge politician president king queen prince princess bride groom husband wife mother father mom mum mommy
dad daddy
parent parents brother sister sibling son daughter grandmother grandfather granny grandma grandpa uncle
aunt cousin friend
friends neighbour neighbor couple family crowd audience spectator spectators fans player footballer
soccer-player goalkeeper
goalie batter pitcher basketball-player tennis-player golfer skier snowboarder skater skateboarder surfer
swimmer diver
dancer ballerina singer musician guitarist drummer pianist actor actress model artist painter photographer
cameraman
reporter journalist clown magician thief burglar robber intruder suspect stranger homeless beggar protester
demonstrator
delivery-man deliveryman postman mailman courier janitor cleaner maid nanny babysitter coach referee umpire
athlete
monk nun priest pope bishop twin twins newborn bystander onlooker attendee presenter host
figure silhouette walker jaywalker crosser bodybuilder boxer wrestler cowboy cowgirl knight warrior
human-figure victim
abductor angler arab bowler broadcaster captive crook dwarf emperor fisher florist guide joker lumberjack
monarch mummy orphan pirate
poacher porter punk rapper redhead schoolmaster sergeant-major sharpshooter smoker striker superman supporter
timekeeper tramp
trumpeter viewer zombie
"""

WORDS = """
bicycle push-bike pushbike pedal-bike cycle mountain-bike road-bike bmx tricycle two-wheeler velocipede
e-bike ebike: bicycle
bike: bicycle, motorcycle 0.8
car automobile auto motorcar motor-car sedan saloon hatchback coupe convertible cabriolet roadster
limousine limo taxi
taxicab cab suv jeep crossover sports-car racecar race-car racing-car police-car patrol-car squad-car
cruiser minicar
hot-rod station-wagon estate-car passenger-car family-car electric-car tesla parked-car: car
motorcycle motorbike moped scooter motor-scooter vespa dirt-bike chopper harley motor-cycle
superbike: motorcycle
kick-scooter segway wheelchair stroller pram baby-carriage shopping-cart cart wheelbarrow trolley-cart:
airplane aeroplane plane aircraft jet jetliner airliner jumbo-jet biplane glider fighter-jet fighter-plane
warplane propeller-plane
seaplane private-jet passenger-plane cessna boeing: airplane
helicopter chopper-aircraft drone: airplane 0.5
bus coach autobus double-decker minibus school-bus omnibus motorbus shuttle-bus tour-bus city-bus: bus
train locomotive railway-train steam-train freight-train subway-train metro underground-train railcar
steam-engine engine-train high-speed-train
bullet-train passenger-train: train
tram streetcar trolley tramcar trolleybus: train, bus 0.8
truck lorry semi semitrailer tractor-trailer eighteen-wheeler dump-truck garbage-truck dustcart fire-truck
fire-engine tow-truck
delivery-truck box-truck tanker-truck juggernaut big-rig trucks cement-mixer: truck
pickup pickup-truck pick-up: truck, car 0.8
van minivan delivery-van camper campervan motorhome rv panel-van transit-van cargo-van
people-carrier: truck, car, bus 0.8
ambulance police-van: truck, car, bus 0.8
tractor bulldozer excavator digger: truck 0.7
boat ship vessel watercraft ferry canoe kayak rowboat rowing-boat sailboat sailing-boat yacht motorboat
speedboat dinghy raft gondola barge
tugboat cruise-ship fishing-boat lifeboat catamaran schooner trawler steamboat cargo-ship: boat
vehicle vehicles transport conveyance: @vehicle
motor-vehicle automotive-vehicle: @motor
road-vehicle wheeled-vehicle traffic: @road
traffic-light traffic-signal stoplight traffic-lights semaphore signal-light traffic-lamp: traffic light
fire-hydrant hydrant fireplug fire-plug: fire hydrant
stop-sign: stop sign
road-sign traffic-sign street-sign: stop sign 0.6
parking-meter meter: parking meter
bench park-bench garden-bench pew: bench
seat seating: @seat
bird birds pigeon dove sparrow seagull gull crow raven duck goose geese swan chicken hen rooster cockerel
cock turkey eagle hawk falcon owl
parrot parakeet budgie cockatoo penguin ostrich flamingo peacock robin blackbird magpie stork heron pelican
crane-bird finch
canary swallow woodpecker hummingbird fowl poultry songbird waterfowl chick birdie: bird
cat kitten kitty pussycat pussy-cat puss tabby tomcat tom-cat feline house-cat housecat siamese persian-cat
moggy kittens: cat
dog dogs doggy doggie puppy puppies pup hound canine mutt pooch terrier poodle labrador retriever
golden-retriever german-shepherd
shepherd-dog sheepdog bulldog beagle chihuahua dachshund husky dalmatian spaniel rottweiler doberman pug
corgi collie mastiff
boxer-dog greyhound whippet cur watchdog guide-dog stray-dog lapdog: dog
wolf fox coyote jackal: dog 0.5
horse pony stallion mare foal colt steed racehorse mustang equine ponies: horse
donkey mule ass: horse 0.7
sheep lamb ewe ram lambs: sheep
goat: sheep 0.7
cow cattle bull ox oxen calf calves heifer bovine steer dairy-cow milk-cow bison buffalo yak: cow
elephant tusker pachyderm mammoth: elephant
bear grizzly grizzly-bear polar-bear brown-bear black-bear bear-cub panda: bear
zebra zebras: zebra
giraffe camelopard: giraffe
animal animals creature beast critter fauna: @animal
wild-animal wildlife: elephant, bear, zebra, giraffe, bird
mammal quadruped four-legged-animal: @mammal
livestock farm-animal barnyard-animal: @farm
pet pets domestic-animal house-pet: @pet
tiger lion leopard cheetah panther jaguar cougar puma lynx: cat 0.4
deer antelope moose elk camel llama kangaroo rabbit bunny monkey ape gorilla pig snake lizard turtle frog
fish shark whale dolphin
insect butterfly bee spider ant crab lobster snail worm rat hamster squirrel hedgehog rhino hippo crocodile
dinosaur dragon
unicorn seal walrus otter beaver raccoon skunk bat-animal:
backpack rucksack knapsack schoolbag book-bag bookbag haversack day-pack daypack packsack
school-bag: backpack
umbrella parasol brolly sunshade gamp beach-umbrella: umbrella
handbag purse pocketbook clutch tote tote-bag shoulder-bag shopping-bag satchel evening-bag: handbag
bag bags: @bag
luggage baggage: suitcase, backpack, handbag
tie necktie cravat neckwear bow-tie bowtie: tie
suitcase briefcase travel-case trunk-case trolley-case travelling-bag traveling-bag attache-case valise
suitcases: suitcase
frisbee flying-disc flying-disk disc-golf-disc: frisbee
ski skis pair-of-skis: skis
snowboard snow-board: snowboard
ball sports-ball football soccer-ball basketball tennis-ball baseball volleyball rugby-ball golf-ball
beach-ball softball
handball cricket-ball bowling-ball: sports ball
kite kites: kite
bat baseball-bat cricket-bat: baseball bat
baseball-glove baseball-mitt mitt catchers-mitt fielders-glove: baseball glove
skateboard longboard skate-board: skateboard
surfboard surf-board paddleboard bodyboard boogie-board: surfboard
board: @board
racket racquet tennis-racket tennis-racquet badminton-racket: tennis racket
sports-equipment sporting-goods sport-equipment sports-gear: @sport
bottle flask wine-bottle water-bottle beer-bottle plastic-bottle glass-bottle milk-bottle soda-bottle
carafe decanter: bottle
beer soda: bottle, cup, wine glass
wine-glass wineglass goblet champagne-glass stemware champagne-flute flute-glass drinking-glass: wine glass
glass tumbler: wine glass, cup
cup mug teacup coffee-cup coffee-mug beaker paper-cup tankard cuppa teacups: cup
coffee tea drink beverage cocktail juice: cup, wine glass 0.8, bottle 0.8
fork dinner-fork salad-fork: fork
knife kitchen-knife blade butter-knife carving-knife steak-knife dagger knives: knife
spoon teaspoon tablespoon soup-spoon ladle: spoon
cutlery silverware flatware eating-utensil utensil: @cutlery
tableware: @cutlery, @crockery
drinking-vessel: cup, wine glass
bowl soup-bowl salad-bowl mixing-bowl cereal-bowl basin-bowl: bowl
soup salad cereal: bowl 0.8
dish dishes crockery dinnerware: @crockery
container: @vessel
banana bananas plantain: banana
apple apples granny-smith: apple
orange oranges tangerine mandarin mandarin-orange navel-orange blood-orange clementine satsuma: orange
fruit fruits: @fruit
citrus citrus-fruit: orange
sandwich sandwiches burger hamburger cheeseburger sub panini toastie club-sandwich blt
bagel-sandwich: sandwich
broccoli: broccoli
carrot carrots: carrot
vegetable vegetables veg veggie veggies greens produce: @vegetable
hot-dog hotdog hot-dogs frankfurter wiener: hot dog
sausage: hot dog 0.7
pizza pizzas pizza-pie pepperoni-pizza margherita: pizza
donut doughnut donuts doughnuts: donut
cake birthday-cake cupcake gateau sponge-cake layer-cake wedding-cake cheesecake: cake
dessert sweet pastry confection bakery-product baked-goods: @sweet
fast-food junk-food snack: sandwich, hot dog, pizza, donut
food foods something-to-eat foodstuff meal edible nourishment: @fruit, @vegetable, @meal, @sweet
chair chairs armchair easy-chair stool rocking-chair office-chair deckchair highchair folding-chair
swivel-chair: chair
couch sofa settee loveseat divan davenport futon chesterfield sofa-bed: couch
potted-plant houseplant house-plant pot-plant indoor-plant flowerpot plant-pot plant plants: potted plant
flower flowers bouquet: potted plant, vase 0.5
bed beds cot bunk bunk-bed double-bed mattress crib: bed
dining-table table kitchen-table dinner-table dinning-table tabletop tables: dining table
desk coffee-table: dining table 0.8
furniture piece-of-furniture furnishing: @furniture
toilet loo lavatory commode water-closet wc toilet-bowl john: toilet
tv television telly television-set tv-set flat-screen flatscreen monitor computer-monitor: tv
screen display computer-screen: tv, laptop 0.8
laptop notebook-computer laptop-computer macbook chromebook portable-computer: laptop
computer pc personal-computer: laptop, tv
mouse computer-mouse pc-mouse: mouse
remote remote-control clicker tv-remote remote-controller game-controller: remote
keyboard computer-keyboard keypad pc-keyboard: keyboard
cell-phone cellphone cellular-phone mobile mobile-phone phone telephone smartphone iphone handset
smart-phone android-phone: cell phone
electronics electronic-device electronic-equipment gadget gadgets: @electronics
microwave microwave-oven: microwave
oven stove cooker range-cooker kitchen-stove: oven
toaster: toaster
sink washbasin basin kitchen-sink wash-basin washbowl handbasin: sink
refrigerator fridge icebox freezer fridge-freezer: refrigerator
appliance appliances kitchen-appliance household-appliance white-goods: @appliance
book books novel textbook paperback hardcover hardback volume notebook magazine dictionary: book
clock clocks wall-clock timepiece alarm-clock grandfather-clock: clock
vase flower-vase urn vases: vase
jar: vase 0.8, bottle 0.6
scissors pair-of-scissors shears snips: scissors
teddy-bear teddy stuffed-bear plush-bear soft-toy stuffed-animal plush-toy plush cuddly-toy
stuffed-toy: teddy bear
toy: teddy bear, kite 0.5, sports ball 0.5, frisbee 0.5
hair-drier hair-dryer hairdryer hairdrier blow-dryer blow-drier: hair drier
toothbrush tooth-brush toothbrushes: toothbrush
thing things object objects item items anything something stuff entity: @vehicle, @animal, @sign, @bag,
@sport, @vessel, @cutlery,
@fruit, @vegetable, @meal, @sweet, @furniture, @electronics, @appliance, umbrella, tie, potted plant,
toilet, sink, book, clock,
scissors, teddy bear, hair drier, toothbrush, fire hydrant, person
living-thing living-being organism: person, @animal, potted plant
"""

#: what people ask for and the backbone cannot see; words that WordNet would lead astray.
NOTHING = """
house building tree trees grass sky cloud sun moon star road street sidewalk pavement crosswalk wall fence
door window roof floor ceiling
stairs staircase ladder bridge tower church castle river lake sea ocean beach mountain hill rock stone sand
snow ice fire smoke flame
water rain wave forest bush leaf branch wood hat cap helmet hard-hat glasses sunglasses goggles mask shirt
t-shirt jacket coat dress
skirt trousers pants jeans shorts sock shoe shoes sneaker boot boots sandal glove gloves mitten scarf belt
watch wristwatch ring
necklace earring bracelet jewelry crown wig suit uniform vest high-vis-vest safety-vest swimsuit bikini
pyjamas apron
guitar piano violin drum trumpet flute saxophone harp cello accordion microphone speaker headphones radio
camera lens tripod printer
scanner tablet router cable wire plug socket switch lamp light-bulb lantern candle torch flashlight lighter
match hammer saw
screwdriver wrench drill pliers nail screw axe shovel rake broom mop bucket hose rope chain lock key
padlock pen pencil crayon marker
eraser ruler paper letter envelope stamp newspaper map poster painting picture frame mirror curtain carpet
rug pillow blanket
towel sheet basket box crate barrel can tin package parcel bag-of-chips wallet coin money banknote card
ticket flag balloon
gun rifle pistol sword shield bow arrow bomb tank missile rocket spaceship satellite globe telescope
microscope thermometer
syringe pill medicine bandage crutch tooth brush comb soap sponge razor lipstick perfume trash garbage
rubbish bin trash-can
garbage-can dumpster mailbox postbox phone-booth lamppost lamp-post street-lamp streetlight pole pillar
post sign billboard banner
fountain statue monument playground swing slide seesaw tent campfire grill barbecue pan pot kettle plate
tray lid jug teapot
blender mixer dishwasher washing-machine dryer iron vacuum-cleaner fan heater radiator air-conditioner
shower bathtub bath faucet tap
drawer cupboard cabinet wardrobe closet shelf bookshelf bookcase nightstand dresser chest safe egg bread
cheese butter milk meat steak
fish-dish rice pasta noodle noodles potato tomato onion garlic pepper cucumber lettuce cabbage corn
mushroom bean pea grape strawberry
cherry lemon lime peach pear plum pineapple watermelon melon mango kiwi coconut avocado nut chocolate candy
cookie biscuit ice-cream
chips fries popcorn pie pancake waffle sushi honey sugar salt puzzle doll robot chess dice playing-card
game wheel tire tyre
license-plate number-plate windshield headlight bumper engine car-door car-park bus-stop bus-station
train-station train-track
airport bicycle-lane bike-rack dog-house doghouse dog-food dog-leash leash collar cat-food bird-house
birdhouse bird-cage cage nest
horse-shoe horseshoe saddle cowbell bear-trap boat-house dock harbour harbor anchor sail oar pot-hole
pothole manhole cone traffic-cone
barrier barricade tunnel rail hand face head hair eye eyes ear nose mouth arm leg foot finger shoulder neck
back knee skin beard
moustache mustache tattoo shadow reflection background scenery landscape view weather night day time place
room kitchen bathroom bedroom
office shop store restaurant school hospital factory garden park field farm machine wheelchair ramp
model-airplane
colour color shape line circle square triangle word text number letter-a sentence song idea love happiness
nothing nobody noise
solid sheet plate disk disc circle round natural-object plant-part article ware covering
protective-covering protection shelter case
mechanism rotating-mechanism passage way conduit tube tubing pipe piping signal sign visual-signal light
set receiver creation product
production lever bar blower stick canopy device instrument implement clothing clothes garment
article-of-clothing equipment
commodity good goods trade-good consumer-goods durables durable-goods consumer-durables fixture machine
computing-machine root nutrient
measuring-device measuring-instrument article-of-faith wheel club bat-cave plant-structure plant-organ
reproductive-structure beef charger timer tin-can ice-pack truck-bed cutting-board chess-board disco-ball
mirror-ball rice-ball
"""
