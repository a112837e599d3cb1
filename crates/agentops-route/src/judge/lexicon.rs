//! The words that the rules about risk look at. One word may be in several groups.

use std::collections::HashMap;
use std::sync::LazyLock;

/// Groups of a word, one bit each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Groups(u128);

impl Groups {
    pub(super) fn has(self, group: Group) -> bool {
        self.0 & (1 << group as u32) != 0
    }

    pub(super) fn is_none(self) -> bool {
        self.0 == 0
    }
}

macro_rules! groups {
    ($($(#[$doc:meta])* $group:ident = $words:literal;)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Group { $($(#[$doc])* $group,)* }

        const WORDS: &[(Group, &str)] = &[$((Group::$group, $words),)*];
    };
}

groups! {
    /// Verbs as they are used to ask for work; a clause begins at one.
    Verb = "\
        add adjust align allow analyze apply archive assess audit backfill benchmark build bump change check clarify clean \
        clear convert correct create cut debug decrease delete deploy deprecate describe destroy diagnose disable document \
        drain drop enable encrypt ensure erase evaluate expire explain expose extend extract fail fill find fix flush \
        force-push format generate grant handle harden hide hook implement import improve increase integrate introduce \
        invalidate investigate issue let limit list log make mention merge migrate mount move nuke optimize overwrite patch \
        pin plan point port prepare prevent propose provision publish purge push put raise rebuild reduce redesign refactor \
        regenerate release remove rename reorder replace reproduce research reset resize resolve restart restore \
        restructure return revert revoke reword rephrase rewrite roll rollback rotate round run scale send set show \
        simplify skip sort speed split start stop store support switch sync test translate truncate tune turn tweak unify \
        unpin update upgrade use validate verify wipe wire wrap write bring figure look get give design swap sanitize hash \
        replicate reindex reboot sunset proofread spellcheck silence lower uninstall install teach trim deduplicate dedupe \
        default cache accept preserve catch continue freeze map invoke confirm review help \
        explore monitor track configure secure register render parse call pass copy define include avoid compile summarize";
    /// Ends something for good, if what it is done to is more than code.
    Destroy = "delete remove drop truncate purge wipe erase destroy nuke reset clear flush overwrite";
    Destroyed = "deleted removed dropped truncated purged wiped erased destroyed nuked overwritten";
    Destroying = "\
        deleting removing dropping truncating purging wiping erasing destroying nuking overwriting deletion removal purge";
    /// What is lost with it.
    Kept = "\
        table tables database databases db dbs bucket buckets volume volumes disk disks partition partitions users user \
        accounts account customer customers record records row rows data dataset datasets backup backups snapshot snapshots \
        cluster clusters namespace namespaces queue queues topic topics repository repositories repo repos tenant tenants \
        environment environments instance instances server servers vm vms schema collection collections secret secrets keys \
        tokens credential credentials certificate certificates sessions everything subscribers orders invoices uploads \
        attachments s3 redis postgres mysql mongodb elasticsearch pvc pvcs";
    /// Lost too, where it is dropped.
    Dropped = "column columns index indexes constraint constraints";
    /// Work on code or on what is shown, which git can bring back.
    Code = "\
        cache caches tmp temp node_modules dist unused dead import imports variable variables function functions method \
        methods class classes test tests comment comments line lines whitespace helper helpers param params parameter \
        parameters argument arguments prop props css html component components mock mocks fixture fixtures todo todos \
        example examples docs doc sidebar page pages menu header footer screen view views modal form dashboard readme \
        markdown tooltip title titles string strings text long name names label labels link links logic wrapper type types \
        struct snippet code warning warnings prefix suffix badge logging console.log print prints selection filter filters \
        toast placeholder dropdown drop-down checkbox input search icon button buttons layout chart legend tab tabs message \
        messages";
    Rotate = "revoke rotate expire invalidate regenerate reissue";
    Credential = "\
        key keys secret secrets token tokens certificate certificates cert certs credential credentials password passwords \
        access session sessions permission permissions";
    /// Comes right before a verb that asks for something to be done.
    Asks = "\
        to and then please should must we i you let's lets will shall now also just first finally simply or can could would \
        i'll we'll safely permanently manually completely immediately go";
    /// What follows is described, not asked for.
    Describes = "\
        if when whenever whether why how once because since bug error errors fails crash crashes after before until unless \
        allow allows let enable enables able ability button option confirm confirmation dialog asks accidentally";
    Negates = "\
        not don't dont doesn't never without avoid instead rather cannot can't won't mustn't shouldn't nor prevent prevents \
        stop keep no nothing";
    /// A negation before one of these asks for it all the same.
    NegatesNot = "forget hesitate only just";
    Touch = "\
        touch touching change changing changes break breaking alter altering affect affecting modify modifying edit editing \
        worry need needed";

    Spelling = "\
        typo typos spelling misspelled misspelling misspell grammar wording reword rephrase phrasing punctuation \
        capitalization whitespace indentation formatting";
    DocVerb = "document describe explain mention clarify reword rephrase proofread spellcheck translate summarize summarise";
    /// Documents and tests: what is said beside them is what they are about.
    About = "\
        docs doc documentation readme readme.md guide tutorial docstring docstrings comment comments changelog heading faq \
        example examples test tests spec specs fixture fixtures mock mocks storybook screenshot screenshots diagram \
        glossary adr";
    Looks = "\
        color colour padding css layout label labels icon icons font spacing style styles tooltip placeholder alignment \
        align margin logo screenshot heading button buttons centered aligned rounded border";

    Production = "production prod prd";
    /// After "production": a kind of build or of quality.
    NotPlace = "\
        ready build builds mode bundle bundles code quality grade dependencies dependency deps readiness minification \
        sourcemaps";
    Live = "live";
    Place = "site database db server servers traffic system environment cluster customers users tenant";

    Migrate = "migrate migrates migrating migration migrations";
    Store = "\
        database databases db data table tables schema schemas postgres postgresql mysql mariadb sqlite mongodb mongo \
        dynamodb redis elasticsearch records rows users customers orders storage bucket buckets s3 columns column tenant \
        tenants warehouse bigquery snowflake";
    Backfill = "backfill backfills backfilling reindex";
    Schema = "schema schemas";
    SchemaOf = "database db table sql postgres mysql sqlite tables";
    ChangeVerb = "\
        change alter update modify migrate rename add drop remove split merge normalize rework delete replace extend write create run generate apply";
    Alter = "alter";
    Column = "column columns";
    Table = "table tables";
    Sql = "database db sql postgres postgresql mysql sqlite nullable foreign primary schema";
    Report = "\
        csv export spreadsheet report ui page html css markdown readme grid excel view screen layout width sort sorting \
        sortable";

    Security = "\
        auth authentication authorization authorisation authenticate authenticated authorize authn authz oauth oauth2 oidc \
        saml sso jwt jwts password passwords secret secrets credential credentials permission permissions rbac acl acls \
        encrypt encrypts encryption encrypted decrypt decryption crypto cryptography cryptographic tls ssl mtls certificate \
        certificates csrf xss ssrf cve vulnerability vulnerabilities exploit 2fa mfa totp cors sandbox cves privilege privileges \
        login logins log-in signin sign-in impersonate impersonation passkey passkeys sanitize sanitise sudo sudoers bcrypt \
        argon2";
    /// Two words of security: the first here, the second in [`Group::SecuritySecond`].
    SecurityFirst = "\
        access refresh api auth private signing session bearer sql security remote code encryption ssh gpg host";
    SecuritySecond = "token tokens key keys control injection hole group groups cookie cookies fixation";
    Money = "\
        billing payment payments invoice invoices invoicing refund refunds payout payouts paypal stripe pricing price \
        prices tax taxes vat currency currencies wallet coupon coupons discount discounts checkout-flow chargeback \
        chargebacks payroll accounting paywall prorated proration";
    /// Shop words that are git words too: they count beside another.
    Checkout = "checkout subscription subscriptions charge charges charging";
    Shop = "\
        cart customer customers page flow card cards order orders paid plan plans shop shipping purchase monthly yearly \
        trial double twice amount";

    Breaking = "breaking break breaks";
    Compatibility = "\
        change changes compatibility compat api backward backwards backward-compatibility backwards-compatibility semver";
    Incompatible = "backwards-incompatible backward-incompatible incompatible";
    Deprecate = "deprecate sunset deprecating";
    Withdraw = "remove drop rename delete retire sunset discontinue";
    Reshape = "change alter modify rework redesign";
    Interface = "endpoint endpoints api apis signature webhook webhooks sdk protocol envelope payload";
    Offered = "flag flags option options support command subcommand deprecated route routes";
    Feature = "feature";

    Infra = "terraform tofu terragrunt pulumi cdk cloudformation kubectl helm";
    InfraDoes = "\
        apply destroy import taint up deploy delete drain scale rollout cordon patch edit upgrade install uninstall \
        rollback";
    Deploy = "deploy redeploy provision failover cutover";
    Restart = "restart reboot resize scale drain upgrade shutdown stop";
    Machine = "\
        cluster clusters server servers node nodes database databases instance instances fleet kubernetes k8s postgres \
        mysql redis kafka pods pod workers nginx host hosts vm vms autoscaler";
    Cloud = "failover cutover iam vpc firewall firewalls loadbalancer autoscaling nameserver nameservers bgp";
    Dns = "dns cname";
    DnsWork = "record records zone zones entry ttl point switch move cut cname domain registrar nameserver apex";
    Load = "load";
    Balancer = "balancer balancers";
    Roll = "roll rollback";
    Publish = "publish release";
    Package = "package crate npm pypi registry maven image gem packages crates";
    Send = "send email mail notify message";
    Audience = "all every everyone customers subscribers users";

    /// Common words of English: what else is hardly known is another language.
    English = "\
        the a an is are was were be been it its this that these those there of to in on at by for from with without as into \
        over under between about and or but so then than when while where which who what how why if not no do does did \
        don't doesn't didn't can can't cannot could should would will won't must may might we you they he she i our your \
        their my me us them has have had isn't aren't please need needs want wants instead after before because only also \
        still again some any all each every more most other same new old up out off here just like make use using show work \
        works working thanks hi hello let's";
    /// English words that other languages have too.
    Shared = "in a an no on so me he i do was is all also am have had not";
    /// Common words of German, French, Spanish, Italian, Portuguese and Dutch that are not English ones.
    Foreign = "\
        der das und ist nicht mit für ein eine einen einem den dem auf bitte wird werden sind wenn soll nach bei aus zu zur \
        zum le les un une des du dans pour est que qui sur avec pas ce cette sont aux el los las una por para con como esta \
        este del il lo gli della nel per che non sono alla di da uma ao na mais het een van niet voor dat zijn wordt de la \
        se al";
    /// Nouns that ask for a repair by themselves: "README: broken link".
    Repair = "\
        typo typos bug broken missing wrong incorrect outdated error crash flaky regression misspelled leak slow unused \
        off-by-one";
}

static GROUPS: LazyLock<HashMap<&'static str, Groups>> = LazyLock::new(|| {
    let mut groups: HashMap<&'static str, Groups> = HashMap::new();
    for (group, words) in WORDS {
        for word in words.split(' ') {
            groups.entry(word).or_default().0 |= 1 << *group as u32;
        }
    }
    groups
});

/// The groups of a word, in lower case.
pub(super) fn groups(word: &str) -> Groups {
    GROUPS.get(word).copied().unwrap_or_default()
}

const _: () = assert!(WORDS.len() <= 128, "one bit a group");
