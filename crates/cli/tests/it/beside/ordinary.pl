# What overlayfs and Mica have to answer alike, whatever it is.
no warnings;
sub sys2 { POSIX::unlink($_[0]) }
sub statx { my ($path,$mask,$fl)=@_;
my $buf="\0"x256; sys('statx',-100,$path,$fl//0,$mask,$buf)<0 and return; unpack('LLQLLLSxxQQQQ',$buf) }
for my $n (qw(lower mine d i a .)) { my ($mask,$bs,$attr,$nl,$u,$g,$mode,$ino,$size,$blocks,$am)=statx("m/$n",0xfff);
printf "statx $n: mask %x blksize $bs nlink $nl mode %o size $size blocks $blocks\n",$mask,$mode; }
my $f=opened('m/big',O_RDWR);
for ([0,'plain'],[1,'keep'],[3,'punch'],[16,'zero'],[17,'zero keep'],[64,'unshare'],[0x80,'write zeroes'],[2,'punch
    without keep'],[9,'bad']) { my($m,$n)=@$_;
deed "fallocate $n", sub { alloc($f,$m,4096,4096) } }
deed 'fallocate beyond', sub { alloc($f,0,9223372036854775807-5,100) };
deed 'fallocate zero length', sub { alloc($f,0,0,0) };
deed 'fallocate dir', sub { opendir(my $d,'m/d'); alloc(opened('m/d'),0,0,10) };
deed 'fallocate ro', sub { alloc(opened('m/big'),0,0,10) };
{ my $h=pack('Ll',128,0).("\0"x128);
my $mid=pack('l',0);
my $p='m/lower';
deed 'name_to_handle_at', sub { sys('name_to_handle_at',-100,$p,$h,$mid,0) }; $h=pack('Ll',128,0).("\0"x128);
deed 'name_to_handle_at FID', sub { sys('name_to_handle_at',-100,$p,$h,$mid,0x200) }; }
for (0..5) { my $a=$_;
deed "fadvise $a", sub { sys('fadvise',fileno $f,0,4096,$a)==0 } }
{ my $s=opened('m/big');
my $d=opened('m/cfr',O_RDWR|O_CREAT);
deed 'cfr', sub { sys('copy_file_range',fileno $s,0,fileno $d,0,8192,0)==8192 };
deed 'cfr flags', sub { sys('copy_file_range',fileno $s,0,fileno $d,0,8192,1) };
my $o=opened('l/big');
deed 'cfr from outside', sub { sys('copy_file_range',fileno $o,0,fileno $d,0,4096,0)==4096 };
my $out=opened('outside',O_RDWR|O_CREAT);
deed 'cfr to outside', sub { sys('copy_file_range',fileno $s,0,fileno $out,0,4096,0)==4096 };
deed 'cfr onto lower', sub { my $t=opened('m/lower3',O_RDWR); sysseek($s,0,0);
    sys('copy_file_range',fileno $s,0,fileno $t,0,4096,0)==4096 && -s $t==4096};
deed 'cfr overlap', sub { my $t=opened('m/big',O_RDWR);
    sys('copy_file_range',fileno $t,0,fileno $t,pack('q',100),4096,0) };
my $ap=opened('m/lower3',O_WRONLY|O_APPEND);
deed 'cfr append', sub { sys('copy_file_range',fileno $s,0,fileno $ap,0,10,0) };
deed 'cfr dir', sub { sys('copy_file_range',fileno opened('m/d'),0,fileno $d,0,10,0) };
 sysseek($s,0,0);
deed 'sendfile', sub { sys('sendfile',fileno $d,fileno $s,0,4096)==4096 }; pipe(my $r,my $w);
deed 'splice in', sub { sysseek($s,0,0); sys('splice',fileno $s,0,fileno $w,0,4096,0)>0 };
deed 'splice out', sub { sys('splice',fileno $r,0,fileno $d,0,4096,0)>0 };
deed 'setpipe', sub { fcntl($w,1031,65536*2) }; }
{ my $t=opened('m/lower4',O_RDWR);
my $data='abc';
my $iov=pack('PJ',$data,3);
for (['none',0],['HIPRI',1],['DSYNC',2],['SYNC',4],['NOWAIT',8],['APPEND',16],['NOAPPEND',32],['ATOMIC',64],['DONTCACHE',128])
    { my($n,$fl)=@$_;
deed "pwritev2 $n", sub { sys('pwritev2',fileno $t,$iov,1,0,0,$fl)>0 } }
print "pwritev2 size: ",-s $t,"\n"; }
{ my $t=opened('m/lower5',O_RDWR);
deed 'F_SETFL append', sub { fcntl($t,F_SETFL,O_APPEND) }; syswrite($t,'end');
print "appended: ",text('m/lower5'),"\n";
deed 'F_SETFL direct', sub { fcntl($t,F_SETFL,00040000) };
deed 'F_GET_RW_HINT', sub { my $h=pack('Q',0); fcntl($t,1035,$h) };
deed 'F_SET_RW_HINT', sub { my $h=pack('Q',2); fcntl($t,1036,$h) };
deed 'F_ADD_SEALS', sub { fcntl($t,1033,1) };
deed 'F_NOTIFY', sub { my $dd=opened('m/d'); fcntl($dd,1026,2) }; }
deed 'fchmodat2 of a link', sub { my $p='m/sl'; sys('fchmodat2',-100,$p,0600,0x100) };
deed 'chmod link', sub { chmod 0600,'m/sl' };
deed 'lsetxattr user link', sub { my $p='m/sl'; sys('lsetxattr',$p,'user.k','v',1,0) };
deed 'lsetxattr trusted link', sub { my $p='m/sl'; sys('lsetxattr',$p,'trusted.k','v',1,0) };
deed 'utimens link', sub { my $p='m/sl';
my $t=pack('q4',1,2,3,4); sys('utimensat',-100,$p,$t,0x100)};
printf "link: %s\n", join ' ',(lstat 'm/sl')[2,3,7,8,9];
deed 'utimens omit', sub { utimens('m/lower',0,0x3ffffffe,0,0x3ffffffe) };
deed 'utimens omit one', sub { utimens('m/lower',5,0,0,0x3ffffffe) };
deed 'utimens bad', sub { utimens('m/lower',5,1000000000,5,0)};
deed 'utimens far', sub { utimens('m/lower',-5,1,1<<34,0)};
printf "times: %s\n",join ' ',(stat 'm/lower')[8,9];
deed 'utimens farther', sub { utimens('m/lower',1<<40,1,-(1<<40),0)};
printf "times: %s\n",join ' ',(stat 'm/lower')[8,9];
for my $n ('user.k','user.','user','trusted.x','trusted.','security.x','security.capability','system.x','system.posix_acl_access','other.x','trusted.overlay.x','user.overlay.x','user.'.('a'x250),'user.'.('a'x251),'')
    { my $s=length $n>30?length $n:$n;
deed "setx '$s'", sub { setx('m/x',$n,'v') };
deed "getx '$s'", sub { my $b="\0"x10;
my $p='m/x'; sys('getxattr',$p,$n,$b,10) } ;
deed "getx short '$s'", sub { my $b="\0";
my $p='m/x'; sys('getxattr',$p,$n,$b,0)>=0?1:undef };
deed "removex '$s'", sub { my $p='m/x'; sys('removexattr',$p,$n) };
deed "removex again '$s'", sub { my $p='m/x'; sys('removexattr',$p,$n) } }
for my $len (0,1000,3000,4000,65536,65537) { deed "setx len $len", sub { setx('m/x','user.big','v'x$len) };
deed "getx len $len", sub { my $b="\0"x70000;
my $p='m/x';
my $r=sys('getxattr',$p,'user.big',$b,70000); $r==$len?1:undef } }
deed 'xattr create twice', sub { setx('m/x','user.c','v',1); setx('m/x','user.c','v',1) };
deed 'xattr replace none', sub { setx('m/x','user.none','v',2) };
deed 'xattr flags', sub { setx('m/x','user.c','v',4) };
deed 'xattr both', sub { setx('m/x','user.c','v',3) };
{ my $p='m/x';
my $b="\0"x4096;
my $n=sys('listxattr',$p,$b,4096);
print "list: ", join(' ',sort split /\0/,substr($b,0,$n)),"\n"; $b="\0"x3;
deed 'list short', sub { sys('listxattr',$p,$b,3) }; $b="\0"x3;
deed 'get short', sub { setx('m/x','user.c','12345'); sys('getxattr',$p,'user.c',$b,3) }; }
for my $n (qw(sl fifo dev sock)) { for my $a (qw(user.k trusted.k security.k)) { deed "lsetx $a on $n",
    sub { my $p="m/$n"; sys('lsetxattr',$p,$a,'v',1,0) };
deed "lgetx $a on $n", sub { my $p="m/$n";
my $b='x'x10; sys('lgetxattr',$p,$a,$b,10) } } }
for my $len (254,255,256) { my $n='m/'.('n'x$len);
deed "create $len", sub { opened($n,O_CREAT|O_WRONLY) };
deed "stat $len", sub { stat $n };
deed "mkdir $len d", sub { mkdir 'm/d/'.('m'x$len) };
deed "rename $len", sub { rename 'm/d/in','m/d/'.('r'x$len) and rename 'm/d/'.('r'x$len),'m/d/in' } ;
deed "unlink $len", sub { unlink $n } }
deed 'long path', sub { stat 'm/'.('d/../'x900) };
deed 'too long path', sub { stat 'm/'.('./'x2100) };
deed 'symlink 4095', sub { symlink 'x'x4095,'m/s4095' };
deed 'symlink 4096', sub { symlink 'x'x4096,'m/s4096' };
deed 'symlink empty', sub { symlink '','m/s0' };
print "readlink: ", length(readlink 'm/s4095'//''),"\n";
deed 'stat slash', sub { stat 'm/lower/' };
deed 'open slash', sub { opened('m/lower/') };
deed 'creat slash', sub { opened('m/none/',O_CREAT|O_WRONLY) };
deed 'mkdir slash', sub { mkdir 'm/md/' };
deed 'rmdir slash', sub { rmdir 'm/md/' };
deed 'unlink slash', sub { unlink 'm/lower/' };
deed 'unlink dir', sub { sys2('m/d') };
deed 'rmdir file', sub { rmdir 'm/lower' };
deed 'rmdir .', sub { rmdir 'm/d/.' };
deed 'rmdir ..', sub { rmdir 'm/d/..' };
deed 'rename slash', sub { rename 'm/lower/','m/zz' };
deed 'rename to slash', sub { rename 'm/lower','m/zz/' };
deed 'link slash', sub { link 'm/lower','m/zz/' };
deed 'symlink slash', sub { symlink 'x','m/zz/' };
deed 'open dir wr', sub { opened('m/d',O_RDWR) };
deed 'open dir creat', sub { opened('m/d',O_CREAT|O_WRONLY) };
deed 'open file as dir', sub { opened('m/lower',O_DIRECTORY)};
deed 'nofollow', sub { opened('m/sl',O_NOFOLLOW) };
deed 'through', sub { opened('m/lower/x') };
deed 'sock', sub { opened('m/sock') };
deed 'dev null', sub { my $h=opened('m/dev',O_RDWR); $h && syswrite($h,'x') };
deed 'fifo', sub { opened('m/fifo',O_RDWR|O_NONBLOCK) };
deed 'fifo wr', sub { opened('m/fifo',O_WRONLY|O_NONBLOCK) };
deed 'read dir', sub { my $h=opened('m/d');
my $b; sysread($h,$b,10) };
deed 'write ro', sub { my $h=opened('m/lower'); syswrite($h,'x') };
deed 'truncate big', sub { sys('truncate','m/lower6',1<<62) };
deed 'truncate neg', sub { sys('truncate','m/lower6',-1) };
deed 'truncate dir', sub { sys('truncate','m/d',1) };
deed 'truncate 16T', sub { sys('truncate','m/lower6',(1<<44)) };
deed 'O_NOATIME', sub { opened('m/lower',01000000) };
deed 'O_PATH', sub { opened('m/lower',010000000) };
deed 'O_SYNC', sub { put('m/lower6',O_WRONLY|04010000) };
deed 'mknod 0:0', sub { system('mknod m/mk c 0 0 2>/dev/null')==0 };
deed 'mknod reg', sub { system('mknod m/mk2 p')==0 };
deed 'whiteout rename', sub { rename2('m/lower4','m/ww',4) };
deed 'bad flags', sub { rename2('m/lower4','m/ww',8) };
deed 'rename dir into itself', sub { rename 'm/d','m/d/x' };
deed 'rename root', sub { rename 'm/.','m/x' };
